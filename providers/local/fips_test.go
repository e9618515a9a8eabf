package local

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// fipsChild runs under GODEBUG=fips140=only, where any algorithm that is not
// approved fails. It makes dir/new.json and meets dir/argon2id.json.
func fipsChild(dir string) error {
	if !fips140.Enabled() {
		return errors.New("not in FIPS 140 mode")
	}
	m, err := openTest(filepath.Join(dir, "new.json"), testPassphrase)
	if err != nil {
		return err
	}
	if _, err := m.CreateKey(rootContext(), provider.CreateKeyRequest{}); err != nil {
		return err
	}
	if _, err := m.RotateKey(rootContext(), provider.RotateKeyRequest{ExpectedVersion: "1"}); err != nil {
		return err
	}
	if _, err := m.Check(rootContext(), provider.CheckRequest{Deep: true}); err != nil {
		return err
	}
	argon, err := openTest(filepath.Join(dir, "argon2id.json"), testPassphrase)
	if err != nil {
		return err
	}
	_, err = argon.DescribeKey(rootContext())
	if !errors.Is(err, ErrFIPS) || !errors.Is(err, provider.Unsupported) {
		return fmt.Errorf("a file sealed with Argon2id: %w", err)
	}
	return nil
}

func TestFIPSMode(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "argon2id.json"), golden(t, "argon2id"))
	if err := startChild(t, "fips", dir, "GODEBUG=fips140=only").Run(); err != nil {
		t.Fatalf("in FIPS mode: %v", err)
	}
	// What FIPS mode made is PBKDF2's, and opens outside of it too.
	path := filepath.Join(dir, "new.json")
	if data := readFile(t, path); !bytes.Contains(data, []byte(`"kdf": "pbkdf2-hmac-sha256"`)) {
		t.Errorf("sealed otherwise:\n%s", data)
	}
	wantVersions(t, open(t, path, testPassphrase), 2)
}
