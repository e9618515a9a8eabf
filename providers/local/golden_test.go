package local

import (
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// goldenWrap is a wrap that was made with a golden file when the format was new.
type goldenWrap struct {
	KEKID      string `json:"kek_id"`
	KEKVersion string `json:"kek_version"`
	Blob       []byte `json:"blob"`
	AAD        []byte `json:"aad"`
	Root       []byte `json:"root"`
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The golden files are never written again: they are what users have on disk. Each
// has an enabled version 1, a destroyed version 2 and the primary, version 3.
func TestGolden(t *testing.T) {
	files := map[string]string{"plain": "", "argon2id": testPassphrase, "pbkdf2": testPassphrase}
	if fips140.Enabled() {
		delete(files, "argon2id") // TestFIPSMode says how that one is refused
	}
	for name, pass := range files {
		t.Run(name, func(t *testing.T) {
			data := golden(t, name)
			path := filepath.Join(t.TempDir(), "kek.json")
			writeFile(t, path, data)
			m := open(t, path, pass)

			checkGoldenWraps(t, m, goldenWraps(t, name))
			checkGoldenVersions(t, m)
			checkGoldenEncoding(t, m, data)
			rotate(t, m, "3")
			checkGoldenWraps(t, m, goldenWraps(t, name))
		})
	}
}

func goldenWraps(t testing.TB, name string) []goldenWrap {
	t.Helper()
	var wraps []goldenWrap
	if err := json.Unmarshal(golden(t, name+".wraps"), &wraps); err != nil {
		t.Fatal(err)
	}
	if len(wraps) != 2 {
		t.Fatalf("%d golden wraps, want 2", len(wraps))
	}
	return wraps
}

func checkGoldenWraps(t *testing.T, m *manager, wraps []goldenWrap) {
	t.Helper()
	for _, w := range wraps {
		res, err := unwrapOne(t, m, provider.Wrapped{KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob}, w.AAD)
		if err != nil {
			t.Fatalf("version %s: %v", w.KEKVersion, err)
		}
		if !bytes.Equal(res.Plaintext.Reveal(), w.Root) || res.KEKVersion != w.KEKVersion || res.KEKID != w.KEKID {
			t.Errorf("version %s came back as another root, or of %s %s", w.KEKVersion, res.KEKID, res.KEKVersion)
		}
	}
}

func checkGoldenVersions(t *testing.T, m *manager) {
	t.Helper()
	d, err := m.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []provider.KeyState{provider.KeyEnabled, provider.KeyDestroyed, provider.KeyEnabled}
	if len(d.Versions) != len(want) || d.PrimaryVersion != "3" || d.Algorithm != "AES-256-GCM" {
		t.Fatalf("got %+v", d)
	}
	for i, v := range d.Versions {
		if v.State != want[i] || v.Version != versionText(uint32(i+1)) || v.Created.IsZero() {
			t.Errorf("version %d: %+v", i+1, v)
		}
	}
	// Its newest rotation is known by its request.
	res, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "2", RequestID: "rotation-<2>"})
	if err != nil || res.OldVersion != "2" || res.NewVersion != "3" {
		t.Errorf("rotation again: %+v, %v", res, err)
	}
}

// The same content is written to the same bytes.
func checkGoldenEncoding(t *testing.T, m *manager, golden []byte) {
	t.Helper()
	err := m.use(t.Context(), func(o *opened) error {
		data, err := encode(o.content, o.sealer)
		if err == nil && !bytes.Equal(data, golden) {
			t.Errorf("written as\n%s\nnot as\n%s", data, golden)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
