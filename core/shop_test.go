package core_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/backup"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// shop is a configuration whose store is lost and comes back.
type shop struct {
	dir, config string
	tokens      []string // by version, from 1
}

// newShop has the keys orders, at version 1, and payments, at version 3.
func newShop(t *testing.T) (*shop, *core.Keyrotor) {
	t.Helper()
	return newShopWith(t, core.InitOptions{})
}

func newShopWith(t *testing.T, o core.InitOptions) (*shop, *core.Keyrotor) {
	t.Helper()
	s := &shop{config: initDir(t, o)}
	s.dir = filepath.Dir(s.config)
	kr := s.open(t)
	for _, key := range []string{"orders", "payments"} {
		if _, err := kr.CreateKey(t.Context(), key, core.KeyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.encrypt(t, kr)
	s.rotate(t, kr, 2)
	return s, kr
}

// open opens the configuration; the caller closes it.
func (s *shop) open(t *testing.T) *core.Keyrotor {
	t.Helper()
	kr, err := core.Open(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}

func (s *shop) encrypt(t *testing.T, kr *core.Keyrotor) {
	t.Helper()
	token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.tokens = append(s.tokens, string(token))
}

// rotate rotates payments, and keeps a token of each version.
func (s *shop) rotate(t *testing.T, kr *core.Keyrotor, times int) {
	t.Helper()
	for range times {
		if _, err := kr.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
			t.Fatal(err)
		}
		s.encrypt(t, kr)
	}
}

func (s *shop) backup(t *testing.T, kr *core.Keyrotor, o core.BackupOptions) (string, backup.Header) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.backup")
	h, err := kr.CreateBackup(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return path, h
}

// lose removes the store.
func (s *shop) lose(t *testing.T, kr *core.Keyrotor) {
	t.Helper()
	if err := errors.Join(kr.Close(), os.Remove(filepath.Join(s.dir, "keyrotor.db"))); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) setup(t *testing.T) *core.Setup {
	t.Helper()
	setup, err := core.Opener{Actor: "restorer@host"}.Load(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := setup.Close(); err != nil {
			t.Error(err)
		}
	})
	return setup
}

func (s *shop) restore(t *testing.T, path string) (core.RestoredStore, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return s.setup(t).RestoreBackup(t.Context(), f, nil)
}

// decrypts asserts which versions' tokens open, and that the others are unknown.
func (s *shop) decrypts(t *testing.T, kr *core.Keyrotor, upTo int) {
	t.Helper()
	for i, token := range s.tokens {
		plaintext, err := kr.Decrypt(t.Context(), []byte(token), nil)
		if i < upTo && (err != nil || string(plaintext) != "s3cret") {
			t.Errorf("version %d: %q, %v", i+1, plaintext, err)
		}
		if i >= upTo && !errors.Is(err, keyring.ErrUnknownVersion) {
			t.Errorf("lost version %d: %q, %v; want an unknown version", i+1, plaintext, err)
		}
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}
