package local

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

func TestCreateKey(t *testing.T) {
	for name, pass := range map[string]string{"plain": "", "sealed": testPassphrase} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, filepath.Join(dir, "kek.json"), pass)
			at := time.Date(2026, 5, 4, 3, 2, 1, 987654321, time.FixedZone("", 3600))
			m.now = func() time.Time { return at }
			res, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{})
			if err != nil || res.Version != "1" || !strings.HasPrefix(res.KEKID, "local:") {
				t.Fatalf("got %+v, %v", res, err)
			}
			info, err := os.Lstat(m.file.path)
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if _, err := os.Lstat(m.file.path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("temporary file: %v", err)
			}
			d, err := m.DescribeKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			created := time.Date(2026, 5, 4, 2, 2, 1, 987654000, time.UTC)
			if d.KEKID != res.KEKID || d.State != provider.KeyEnabled || d.PrimaryVersion != "1" || len(d.Versions) != 1 ||
				d.Versions[0] != (provider.KeyVersion{Version: "1", State: provider.KeyEnabled, Created: created}) {
				t.Errorf("got %+v", d)
			}
			data := readFile(t, m.file.path)
			if sealed := bytes.Contains(data, []byte(`"seal"`)); sealed != (pass != "") {
				t.Errorf("sealed: %v", sealed)
			}
			_, err = m.CreateKey(t.Context(), provider.CreateKeyRequest{})
			wantError(t, err, provider.AlreadyExists, ErrExists, "")
			if !bytes.Equal(readFile(t, m.file.path), data) {
				t.Error("the second CreateKey changed the file")
			}
		})
	}
}

// What users get, as opposed to what these tests use.
func TestDefaultCosts(t *testing.T) {
	m, err := newFrom(testConfig("/kek", testPassphrase))
	if err != nil {
		t.Fatal(err)
	}
	want := costs{argonTime: 3, argonMemory: 64 * 1024, argonThreads: 4, pbkdf2Iterations: 600_000}
	if got := m.costs; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCreateKeyNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek.json")
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, path, "").CreateKey(t.Context(), provider.CreateKeyRequest{})
	wantError(t, err, provider.AlreadyExists, ErrExists, "")
	if to, err := os.Readlink(path); err != nil || to != "nowhere" {
		t.Errorf("the link became %q, %v", to, err)
	}
}

func TestRotateKey(t *testing.T) {
	for name, pass := range map[string]string{"plain": "", "sealed": testPassphrase} {
		t.Run(name, func(t *testing.T) {
			m := create(t, pass)
			old := wrapOne(t, m, testRoot(), nil)
			for _, expected := range []string{"", "0", "2", "01"} {
				_, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: expected})
				wantError(t, err, provider.VersionChanged, nil, "")
			}
			want := provider.RotateKeyResponse{OldVersion: "1", NewVersion: "2"}
			req := provider.RotateKeyRequest{ExpectedVersion: "1", RequestID: "<r1>"}
			for range 2 { // the second is the same rotation
				if res, err := m.RotateKey(t.Context(), req); err != nil || res != want {
					t.Fatalf("got %+v, %v", res, err)
				}
			}
			if res := rotate(t, m, "2"); res.NewVersion != "3" {
				t.Errorf("got %+v", res)
			}
			// A request without an id in between ended what is known of r1.
			_, err := m.RotateKey(t.Context(), req)
			wantError(t, err, provider.VersionChanged, nil, "")
			_, err = m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "2"})
			wantError(t, err, provider.VersionChanged, nil, "")

			d, err := m.DescribeKey(t.Context())
			if err != nil || d.PrimaryVersion != "3" || len(d.Versions) != 3 {
				t.Errorf("got %+v, %v", d, err)
			}
			if _, err := unwrapOne(t, open(t, m.file.path, pass), old, nil); err != nil {
				t.Errorf("the wrap under version 1 is lost: %v", err)
			}
		})
	}
}

func TestRotateKeyRefusesRequestID(t *testing.T) {
	m := create(t, "")
	for _, id := range []string{strings.Repeat("x", maxRequestID+1), "\xff"} {
		_, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "1", RequestID: id})
		wantError(t, err, provider.InvalidArgument, nil, "")
	}
}

func TestRotateKeyWithoutNumbersLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek.json")
	writeFile(t, path, forge(t, "plain", func(c *content) {
		c.KEKs[2].Version, c.Primary, c.Rotation = 1<<32-1, 1<<32-1, nil
	}))
	_, err := open(t, path, "").RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "4294967295"})
	wantError(t, err, provider.LimitExceeded, nil, "")
}

// A file that could not be read any more is not written.
func TestEncodeRefusesTooManyVersions(t *testing.T) {
	c := &content{Primary: 1}
	for v := range uint32(40_000) {
		c.KEKs = append(c.KEKs, kek{Version: v + 1, State: provider.KeyEnabled, Key: make([]byte, keySize)})
	}
	_, err := encode(c, nil)
	wantError(t, err, provider.LimitExceeded, nil, "")
}

func TestSetVersionState(t *testing.T) {
	for name, pass := range map[string]string{"plain": "", "sealed": testPassphrase} {
		t.Run(name, func(t *testing.T) {
			m := create(t, pass)
			w := wrapOne(t, m, testRoot(), nil)
			set := func(version string, state provider.KeyState) error {
				return m.SetVersionState(t.Context(), provider.SetVersionStateRequest{Version: version, State: state})
			}
			wantError(t, set("1", provider.KeyDisabled), provider.InvalidState, nil, "")
			wantError(t, set("2", provider.KeyDisabled), provider.NotFoundVersion, nil, "")
			wantError(t, set("1", provider.KeyPendingDestruction), provider.InvalidArgument, nil, "")
			rotate(t, m, "1")

			for range 2 {
				if err := set("1", provider.KeyDisabled); err != nil {
					t.Fatal(err)
				}
				_, err := unwrapOne(t, m, w, nil)
				wantError(t, err, provider.InvalidState, nil, "")
			}
			if err := set("1", provider.KeyEnabled); err != nil {
				t.Fatal(err)
			}
			if _, err := unwrapOne(t, m, w, nil); err != nil {
				t.Errorf("enabled again: %v", err)
			}
			key := m.opened.content.kek(1).Key
			stored := bytes.Clone(key)
			if err := set("1", provider.KeyDestroyed); err != nil {
				t.Fatal(err)
			}
			_, err := unwrapOne(t, m, w, nil)
			wantError(t, err, provider.InvalidState, nil, "")
			wantError(t, set("1", provider.KeyEnabled), provider.InvalidState, nil, "")
			c, _, _, err := decode(readFile(t, m.file.path))
			if err != nil || c.kek(1).State != provider.KeyDestroyed || len(c.kek(1).Key) != 0 {
				t.Errorf("the file still has the destroyed version: %+v, %v", c, err)
			}
			if bytes.Equal(key, stored) {
				t.Error("the destroyed key is still in memory")
			}
		})
	}
}

// The passphrase is needed once: deriving the seal's keys is slow on purpose.
func TestSealIsDerivedOnce(t *testing.T) {
	sealed := create(t, testPassphrase)
	file := filepath.Join(t.TempDir(), "passphrase")
	writeFile(t, file, []byte(testPassphrase+"\n"))
	m := newManager(sealed.file.path, passphrase{file: file})
	w := wrapOne(t, m, testRoot(), nil)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	rotate(t, m, "1")
	rotate(t, sealed, "2")
	if d, err := m.DescribeKey(t.Context()); err != nil || d.PrimaryVersion != "3" {
		t.Errorf("after a rotation elsewhere: %+v, %v", d, err)
	}
	if _, err := unwrapOne(t, m, w, nil); err != nil {
		t.Error(err)
	}
	// Another file at the path has another salt, and the passphrase is gone.
	if err := os.Remove(sealed.file.path); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.CreateKey(t.Context(), provider.CreateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err := m.DescribeKey(t.Context())
	wantError(t, err, provider.InvalidConfig, os.ErrNotExist, attrPassphraseFile)
}

func TestCanceledContext(t *testing.T) {
	m := create(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.Wrap(ctx, nil)
	wantError(t, err, provider.Unavailable, context.Canceled, "")

	unlock, err := m.file.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "1"})
	wantError(t, err, provider.Unavailable, context.Canceled, "")
	if !strings.Contains(err.Error(), "another process is changing") {
		t.Errorf("%v does not say who is in the way", err)
	}
	// Reading does not wait for a writer.
	if _, err := m.DescribeKey(t.Context()); err != nil {
		t.Error(err)
	}
	unlock()
	rotate(t, m, "1")
}
