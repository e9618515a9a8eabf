package sqlite

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; if that is meant, a released format has changed.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestSchema pins the schema and the migrations that lead to it.
func TestSchema(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	var b strings.Builder
	rows, err := s.reader.Query(`SELECT printf('migration %04d %s %s', number, name, lower(hex(sha256))) FROM migrations
		UNION ALL SELECT * FROM (SELECT coalesce(sql, type || ' ' || name) FROM sqlite_schema ORDER BY type, name)`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n\n", text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.sql", []byte(b.String()))
}

// withMigration is this build's migrations and one more.
func withMigration(t *testing.T, name, text string) []migration {
	t.Helper()
	files := fstest.MapFS{"migrations/" + name: {Data: []byte(text)}}
	names, err := fs.Glob(migrationFiles, "migrations/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		data, err := fs.ReadFile(migrationFiles, n)
		if err != nil {
			t.Fatal(err)
		}
		files[n] = &fstest.MapFile{Data: data}
	}
	list, err := loadMigrations(files)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestNewerBuild: a newer build adds its migration to a store that this build
// made, and this build then refuses the store.
func TestNewerBuild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	list := withMigration(t, "0005_more.sql", `CREATE TABLE more (x INTEGER) STRICT; INSERT INTO more VALUES (1);`)
	var wg sync.WaitGroup
	for range 4 { // whoever comes late finds nothing to do
		wg.Go(func() {
			db, err := openWriter(path, busyTimeout)
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if err := migrate(t.Context(), db, list, time.Unix(1, 0), slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var x, applied int64
	if err := s.reader.QueryRow(`SELECT count(*), (SELECT applied FROM migrations WHERE number = 5) FROM more`).Scan(&x, &applied); err != nil || x != 1 || applied != 1e6 {
		t.Errorf("%d rows, applied at %d, %v", x, applied, err)
	}
	_, err := Open(t.Context(), Config{Path: path})
	if !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "0005_more.sql") {
		t.Errorf("an older build: %v", err)
	}
}

func TestFailedMigrationLeavesNothing(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	list := withMigration(t, "0005_bad.sql", `CREATE TABLE half (x); CREATE TABLE keys (y);`)
	err := migrate(t.Context(), s.writer, list, time.Unix(1, 0), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "0005_bad.sql") {
		t.Errorf("migrate: %v", err)
	}
	var n int
	if err := s.reader.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'half'`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d tables of the failed migration, %v", n, err)
	}
}

// TestOtherMigrations: a database whose past is not ours is not opened.
func TestOtherMigrations(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want error
	}{
		"edited":  {`UPDATE migrations SET sha256 = zeroblob(32)`, store.ErrSchema},
		"missing": {`DELETE FROM migrations; INSERT INTO migrations VALUES (0x7fffffff, 'x', zeroblob(32), 0)`, store.ErrSchema},
		"gap":     {`INSERT INTO migrations SELECT 5, 'x', sha256, 0 FROM migrations WHERE number = 1`, store.ErrSchema},
	} {
		path := filepath.Join(t.TempDir(), "keyrotor.db")
		s := openAt(t, path, nil)
		if _, err := s.writer.Exec(c.sql); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Config{Path: path}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestLoadMigrations(t *testing.T) {
	for _, bad := range []fstest.MapFS{
		{"migrations/0002_a.sql": {}},
		{"migrations/0001_a.sql": {}, "migrations/0003_b.sql": {}},
		{"migrations/first.sql": {}},
		{"migrations/0001_a.sql": {}, "migrations/0001_b.sql": {}},
	} {
		if _, err := loadMigrations(bad); err == nil {
			t.Errorf("%v was taken", maps.Keys(bad))
		}
	}
}
