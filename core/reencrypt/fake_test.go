package reencrypt

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// fakeKeys "encrypt" by arranging bytes in a token's true form: the nonce repeats
// the version, and the tag is a checksum of the AAD.
type fakeKeys struct {
	primary map[string]uint32
	// before, if set, runs at the start of each re-encryption.
	before func(token []byte) error
	calls  int
	looked int
}

// newFakeKeys: payments is at version 2 and billing at 3.
func newFakeKeys() *fakeKeys {
	return &fakeKeys{primary: map[string]uint32{"payments": 2, "billing": 3}}
}

func (f *fakeKeys) Reencrypt(_ context.Context, dst, token, aad []byte) ([]byte, bool, error) {
	f.calls++
	if f.before != nil {
		if err := f.before(token); err != nil {
			return nil, false, err
		}
	}
	t, err := keyring.ParseToken(token)
	if err != nil {
		return nil, false, err
	}
	primary, ok := f.primary[string(t.Key)]
	switch {
	case !ok:
		return nil, false, fmt.Errorf("%w: %q", keyring.ErrUnknownKey, t.Key)
	case t.Version == primary:
		return append(dst, token...), false, nil
	case t.Version > primary:
		return nil, false, fmt.Errorf("%w: %d", keyring.ErrUnknownVersion, t.Version)
	}
	raw, err := base64.RawURLEncoding.DecodeString(string(t.Payload))
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", keyring.ErrMalformed, err)
	}
	plaintext, tag := raw[13:len(raw)-16], raw[len(raw)-16:]
	if !bytes.Equal(tag, fakeTag(aad)) {
		return nil, false, keyring.ErrAuthentication
	}
	return append(dst, fakeToken(string(t.Key), primary, string(plaintext), string(aad))...), true, nil
}

func (f *fakeKeys) Versions(_ context.Context, key string) ([]uint32, error) {
	f.looked++
	primary, ok := f.primary[key]
	if !ok {
		return nil, fmt.Errorf("%w: %q", keyring.ErrUnknownKey, key)
	}
	var versions []uint32
	for v := uint32(1); v <= primary; v++ {
		versions = append(versions, v)
	}
	return versions, nil
}

func fakeTag(aad []byte) []byte {
	return fmt.Appendf(nil, "%016x", crc32.ChecksumIEEE(aad))
}

func fakeToken(key string, version uint32, plaintext, aad string) string {
	raw := append([]byte{1}, bytes.Repeat([]byte{byte(version)}, 12)...)
	raw = append(raw, plaintext...)
	raw = append(raw, fakeTag([]byte(aad))...)
	return fmt.Sprintf("keyrotor:%s:v%d:%s", key, version, base64.RawURLEncoding.EncodeToString(raw))
}

// old and renewed are a token of the key payments before and after.
func old(plaintext string) string     { return fakeToken("payments", 1, plaintext, "") }
func renewed(plaintext string) string { return fakeToken("payments", 2, plaintext, "") }

// tree writes files below a new folder.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantContent(t testing.TB, path, want string) {
	t.Helper()
	if got := read(t, path); got != want {
		t.Errorf("%s holds %.200q (%d bytes), want %.200q (%d bytes)", filepath.Base(path), got, len(got), want, len(want))
	}
}

// wantNames asserts what a folder holds, hidden files included.
func wantNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), strings.Join(want, " "); got != want {
		t.Errorf("folder holds %q, want %q", got, want)
	}
}

func run(t testing.TB, job *Job, paths ...string) Report {
	t.Helper()
	report, err := job.Run(t.Context(), paths)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// outline is a report in one line, with file names relative to dir.
func outline(dir string, r Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "files=%d tokens=%d reencrypted=%d", r.Files, r.Tokens, r.Reencrypted)
	for _, f := range r.Failed {
		fmt.Fprintf(&b, " failed=%s:%d:%s", relative(dir, f.File), f.Line, f.Code)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, " skipped=%s(%s)", relative(dir, s.File), s.Reason)
	}
	return b.String()
}

func relative(dir, path string) string {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return path
	}
	return filepath.ToSlash(rel)
}

func wantOutline(t testing.TB, dir string, r Report, want string) {
	t.Helper()
	if got := outline(dir, r); got != want {
		t.Errorf("report\n got %s\nwant %s\n%+v", got, want, r.Failed)
	}
}
