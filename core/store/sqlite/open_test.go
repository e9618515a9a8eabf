package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/store"
)

func TestOpenCreatesPrivateFiles(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "keyrotor.db"), nil)
	create(t, s, "payments")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
	if got := strings.Join(names, " "); got != "keyrotor.db keyrotor.db-shm keyrotor.db-wal" {
		t.Errorf("files: %s", got)
	}
}

func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20é.db")
	first, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	created := create(t, first, "payments")
	id := first.ID()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(files) != 1 || files[0] != path {
		t.Errorf("after Close there is %q, want %q alone", files, path)
	}
	second := openAt(t, path, nil)
	key, err := second.Key(t.Context(), "payments")
	if err != nil || second.ID() != id || key.LastDigest != created.LastDigest {
		t.Errorf("store %v, key %+v, %v; want store %v, digest %s", second.ID(), key, err, id, created.LastDigest)
	}
}

func TestOpenRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	openAt(t, "keyrotor.db", nil)
	if _, err := os.Stat(filepath.Join(dir, "keyrotor.db")); err != nil {
		t.Error(err)
	}
}

// TestOpenRace: however many start at once, there is one store.
func TestOpenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	var wg sync.WaitGroup
	var ids sync.Map
	for range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), Config{Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			ids.Store(s.ID(), true)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d store ids", n)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keyrotor-draft-*")); len(files) != 0 {
		t.Errorf("drafts left behind: %q", files)
	}
}

func TestOpenRefuses(t *testing.T) {
	write := func(content string, mode os.FileMode) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(content), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    error
		text    string
	}{
		"empty file":   {write("", 0o600), store.ErrCorrupt, "the file is empty"},
		"no database":  {write(strings.Repeat("not a database. ", 100), 0o600), store.ErrCorrupt, "restore the newest backup"},
		"short file":   {write("SQLite format 3\x00", 0o600), store.ErrCorrupt, ""},
		"foreign":      {foreignDatabase, store.ErrForeign, "another program's SQLite database (application id 0x00000007)"},
		"others read":  {write("x", 0o640), nil, "chmod 600 "},
		"others write": {write("x", 0o602), nil, "mode 0602"},
		"folder": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "not a regular file"},
		"lost, log left": {func(t *testing.T, path string) { write("x", 0o600)(t, path+"-wal") }, store.ErrCorrupt, "the database is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "others") && runtime.GOOS == "windows" {
				c.text = "" // there are no such modes; the content is refused
			}
			path := filepath.Join(t.TempDir(), "keyrotor.db")
			c.prepare(t, path)
			before, _ := os.ReadFile(path)
			s, err := Open(t.Context(), Config{Path: path})
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v\nnames not both %s and %q", err, path, c.text)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func foreignDatabase(t *testing.T, path string) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`PRAGMA application_id = 7; CREATE TABLE t (x)`); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenNeedsFolder(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(t.Context(), Config{Path: filepath.Join(dir, "absent", "keyrotor.db")})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "absent")+" does not exist: create it") {
		t.Errorf("no folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(t.Context(), Config{Path: filepath.Join(dir, "file", "keyrotor.db")}); err == nil {
		t.Error("a file was taken for a folder")
	}
	if _, err = Open(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "path") {
		t.Errorf("no path: %v", err)
	}
}

// TestConnections: what SQLite keeps per connection is set on each one.
func TestConnections(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	for name, db := range map[string]*sql.DB{"writer": s.writer, "reader": s.reader} {
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1",
			"trusted_schema": "0", "application_id": "1265790836",
			"query_only":   map[string]string{"writer": "0", "reader": "1"}[name],
			"busy_timeout": map[string]string{"writer": "5", "reader": "10000"}[name],
		} {
			var got string
			if err := db.QueryRow(`PRAGMA ` + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s = %q, %v; want %s", name, pragma, got, err, want)
			}
		}
	}
}

// TestNoAccidentalFile: SQLite itself never makes the file, with whatever mode.
func TestNoAccidentalFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	for name, open := range map[string]func(string) (*sql.DB, error){
		"writer": func(path string) (*sql.DB, error) { return openWriter(path, busyPause) },
		"reader": openReader,
	} {
		db, err := open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(); err == nil {
			t.Errorf("the %s opened a file that does not exist", name)
		} else if text := explain(err).Error(); !strings.Contains(text, "cannot open the file") {
			t.Errorf("the %s says %s", name, text)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file now: %v", err)
	}
}

func TestEngineVersion(t *testing.T) {
	for version, good := range map[string]bool{
		"3.51.3": true, "3.51.10": true, "3.52.0": true, "4.0.0": true,
		"3.51.2": false, "3.50.9": false, "2.99.99": false, "three": false, "": false, "3.51": false,
	} {
		if err := checkEngineVersion(version); (err == nil) != good {
			t.Errorf("%q: %v", version, err)
		} else if err != nil && !strings.Contains(err.Error(), version) {
			t.Errorf("%q is not named: %v", version, err)
		}
	}
}

// create makes a key with one active version.
func create(t testing.TB, s *Store, name string) store.Key {
	t.Helper()
	key, err := s.Update(t.Context(), store.Update{Name: name, Create: true, Apply: newKey(name, s.now)})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rotate(t testing.TB, s *Store, name string) store.Key {
	t.Helper()
	key, err := s.Update(t.Context(), store.Update{Name: name, Apply: newVersion(s.now)})
	if err != nil {
		t.Fatal(err)
	}
	return key
}
