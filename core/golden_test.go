package core_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// TestGoldenBackup restores a backup that was made when the format was new. Its files
// are never written again: they are what users have on disk.
func TestGoldenBackup(t *testing.T) {
	golden := filepath.Join("testdata", "backup-v1")
	s := &shop{config: newDir(t)}
	s.dir = filepath.Dir(s.config)
	kek, err := os.ReadFile(filepath.Join(golden, "keyrotor.kek"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(s.dir, "keyrotor.kek"), kek, 0o600),
		os.Remove(filepath.Join(s.dir, "keyrotor.db")),
	)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := s.restore(t, filepath.Join(golden, "backup"))
	if err != nil {
		t.Fatal(err)
	}
	h := restored.Header
	if h.Writer != "0.1.0" || h.LogSize != 6 || len(restored.Keys) != 2 || restored.Keys[1] != (rotation.RestoredKey{Key: "payments", Primary: 3}) {
		t.Errorf("restored %+v of %+v", restored.Keys, h)
	}
	tokens, err := os.ReadFile(filepath.Join(golden, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	s.tokens = strings.Fields(string(tokens))
	if len(s.tokens) != 4 {
		t.Fatalf("%d tokens", len(s.tokens))
	}
	kr := open(t, s.config)
	s.decrypts(t, kr, 3)
	r, err := kr.Recover(t.Context(), core.RecoverOptions{Paths: []string{filepath.Join(golden, "tokens")}})
	if err != nil || len(r.Keys) != 2 || r.Keys[1].Err != nil || r.Keys[1].Result.Primary != 5 {
		t.Errorf("recovered %+v, %v", r.Keys, err)
	}
}
