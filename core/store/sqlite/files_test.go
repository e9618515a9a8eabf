package sqlite

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestStat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "keyrotor.db")
	if f, err := Stat(path); err != nil || f.Path != path || f.Folder != nil || f.Database != nil {
		t.Errorf("without a folder: %+v, %v", f, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if f, err := Stat(path); err != nil || f.Folder == nil || f.Database != nil || f.Remote != nil || f.Writable != nil {
		t.Errorf("without a store: %+v, %v", f, err)
	}
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "payments")
	for _, name := range []string{".keyrotor.db.new-1", ".keyrotor.db.new-1-wal", ".keyrotor.db.probe-2", ".keyrotor.dbx", "keyrotor.db.bak", ".init-1.hcl"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Stat(path)
	if err != nil || f.Database == nil || f.Log == nil || f.Log.Size() == 0 || f.Shared == nil || f.Database.Size()%4096 != 0 {
		t.Errorf("a store in use: %+v, %v", f, err)
	}
	var drafts []string
	for _, d := range f.Drafts {
		drafts = append(drafts, d.Name())
	}
	if want := []string{".keyrotor.db.new-1", ".keyrotor.db.new-1-wal", ".keyrotor.db.probe-2"}; !slices.Equal(drafts, want) {
		t.Errorf("drafts %q, want %q", drafts, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err := Stat(path); err != nil || f.Database == nil || f.Log != nil || f.Shared != nil {
		t.Errorf("a store at rest: %+v, %v", f, err)
	}
	if _, err := Stat(""); err == nil {
		t.Error("no path is no error")
	}
}
