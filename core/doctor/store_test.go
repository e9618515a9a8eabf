package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

func TestStoreFiles(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	file := func(mode fs.FileMode) fs.FileInfo { return fileAt(t, "keyrotor.db", mode, 8192, now) }
	folder := func(mode fs.FileMode) fs.FileInfo { return fileAt(t, "k", fs.ModeDir|mode, 0, now) }
	const present = "ok store.file [/k/keyrotor.db] 8 KiB\n"
	const makes = "`keyrotor backup restore FILE` brings it back; if there never was one, `keyrotor key create NAME` makes one with its first key"
	const private = "ok store.permissions [/k/keyrotor.db] mode 0600, folder 0700\n"
	for name, c := range map[string]struct {
		files sqlite.Files
		err   error
		want  string
		more  bool
	}{
		"in order": {sqlite.Files{Folder: folder(0o700), Database: file(0o600), Log: file(0o600), Shared: file(0o600)}, nil, present + private, true},
		"refused": {sqlite.Files{}, errors.New("stat: permission denied"), `
fail store.file [/k/keyrotor.db] stat: permission denied
  -> let this user read the file and its folder
`, false},
		"no folder": {sqlite.Files{}, nil, `
fail store.file [/k/keyrotor.db] neither the store nor its folder exists
  -> mount the folder, or create it: then ` + makes + `
`, false},
		"no store": {sqlite.Files{Folder: folder(0o700)}, nil, `
fail store.file [/k/keyrotor.db] the store does not exist
  -> mount it, or ` + makes + `
`, false},
		"log alone": {sqlite.Files{Folder: folder(0o700), Log: file(0o600)}, nil, `
fail store.file [/k/keyrotor.db] the store is gone, and its write-ahead log is still there
  -> RESTORE
`, false},
		"open to others": {sqlite.Files{Folder: folder(0o777), Database: file(0o640), Log: file(0o604), Shared: file(0o600)}, nil, present + `
fail store.permissions [/k/keyrotor.db] mode 0640 lets other users at it
  -> chmod 600 /k/keyrotor.db
fail store.permissions [/k/keyrotor.db-wal] mode 0604 lets other users at it
  -> chmod 600 /k/keyrotor.db-wal
fail store.permissions [/k] mode 0777 lets every user replace the store
  -> chmod o-w /k
`[1:], true},
		"read-only": {sqlite.Files{Folder: folder(0o700), Database: file(0o600), Writable: errors.New("/k: read-only file system")}, nil, present + private + `
fail store.writable [/k/keyrotor.db] this user may read it and not write it: /k: read-only file system
  -> let this user write the file and its folder, on a file system mounted writable; until then keys cannot be rotated, and nothing can be encrypted
`[1:], true},
		"remote": {sqlite.Files{Folder: folder(0o700), Database: file(0o600), Remote: errors.New("/k is on NFS")}, nil, present + private + `
fail store.filesystem [/k/keyrotor.db] /k is on NFS
  -> move the store to a local disk while nothing uses it
`[1:], true},
		"leftovers": {sqlite.Files{Folder: folder(0o700), Database: file(0o600), Drafts: []fs.FileInfo{
			fileAt(t, ".keyrotor.db.new-1", 0o600, 0, now.Add(-72*time.Hour)), fileAt(t, ".keyrotor.db.new-2", 0o600, 0, now.Add(-time.Minute)),
			fileAt(t, ".keyrotor-draft-3", fs.ModeDir|0o700, 0, now.Add(-time.Hour)),
		}}, nil, present + private + `
warn store.leftovers [/k/.keyrotor.db.new-1] a process that was killed left it 3 days ago
  -> rm /k/.keyrotor.db.new-1
warn store.leftovers [/k/.keyrotor-draft-3] a process that was killed left it 1h0m ago
  -> rm -r /k/.keyrotor-draft-3
`[1:], true},
	} {
		c.files.Path = "/k/keyrotor.db"
		findings, more := StoreFiles(c.files, c.err, now)
		if expect(t, name, findings, c.want); more != c.more {
			t.Errorf("%s: there is more to look at: %v", name, more)
		}
	}
}

func TestStoreRefused(t *testing.T) {
	expect(t, "refused", []Finding{
		StoreRefused("/k/keyrotor.db", fmt.Errorf("inspect: %w: id 7", store.ErrForeign)),
		StoreRefused("/k/keyrotor.db", fmt.Errorf("inspect: %w: page 3", store.ErrCorrupt)),
		StoreRefused("/k/keyrotor.db", errors.New("cannot open the file")),
	}, `
fail store.readable [/k/keyrotor.db] inspect: not a Keyrotor store: id 7
  -> correct "path" in the config's storage block
fail store.readable [/k/keyrotor.db] inspect: the store is damaged: page 3
  -> RESTORE
fail store.readable [/k/keyrotor.db] cannot open the file
  -> let this user read and write the file and its folder
`)
}

// inspection answers what it is told to.
type inspection struct {
	has                int
	schema, broken     error
	objects            []string
	uncompared         error
	faults, orphans    []string
	references, counts error
	deep               bool
}

func (i *inspection) Schema(context.Context) (has, known int, err error) { return i.has, 2, i.schema }

func (i *inspection) SchemaFaults(context.Context) ([]string, error) { return i.objects, i.uncompared }

func (i *inspection) Integrity(_ context.Context, deep bool) ([]string, error) {
	i.deep = deep
	return i.faults, i.broken
}

func (i *inspection) References(context.Context) ([]string, error) { return i.orphans, i.references }

func (i *inspection) Pages(context.Context) (sqlite.Pages, error) {
	return sqlite.Pages{Size: 4096, Count: 29, Free: 2}, i.counts
}

func TestDatabase(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const (
		schema     = "ok store.schema [/k/keyrotor.db] 2 migrations, as this build\n"
		whole      = "ok store.integrity [/k/keyrotor.db] 29 pages of 4 KiB, 2 of them free (quick check; --deep compares the indexes, too)\n"
		references = "ok store.references [/k/keyrotor.db] every row refers to one that exists\n"
		log        = "ok store.log [/k/keyrotor.db-wal] there is none: nobody has the store open, and all is in the file\n"
		restored   = "  -> RESTORE\n"
	)
	for name, c := range map[string]struct {
		i    inspection
		log  fs.FileInfo
		deep bool
		want string
	}{
		"in order": {inspection{has: 2}, nil, false, schema + whole + references + log},
		"deep": {inspection{has: 2}, nil, true, schema +
			"ok store.integrity [/k/keyrotor.db] 29 pages of 4 KiB, 2 of them free (full check)\n" + references + log},
		"older": {inspection{has: 1}, nil, false, `
warn store.schema [/k/keyrotor.db] it has 1 of the 2 migrations of this build
  -> back it up; then any command that opens it brings it up to date, e.g. `[1:] + "`keyrotor key list`\n" + whole + references + log},
		"newer": {inspection{schema: fmt.Errorf("%w: 0009", store.ErrSchema)}, nil, false, `
fail store.schema [/k/keyrotor.db] the store has a schema that this build does not know: 0009
  -> use the build that wrote it, or a newer one
`[1:] + whole + references + log},
		"no schema": {
			inspection{schema: store.ErrCorrupt},
			nil, false,
			"fail store.schema [/k/keyrotor.db] the store is damaged\n" + restored + whole + references + log,
		},
		"schema changed": {
			inspection{has: 1, objects: []string{"index a is missing", "trigger b does not belong there"}},
			nil, false,
			"fail store.schema [/k/keyrotor.db] index a is missing; trigger b does not belong there\n" +
				"  -> find out who changed the database; RESTORE\n" + whole + references + log,
		},
		"schema unread": {
			inspection{has: 2, uncompared: store.ErrCorrupt},
			nil, false,
			"fail store.schema [/k/keyrotor.db] the store is damaged\n" + restored + whole + references + log,
		},
		"faults": {inspection{has: 2, faults: []string{"page 3: bad", "page 4: worse"}, orphans: []string{"a row of wraps", "a row of keys"}}, nil, false, schema +
			"fail store.integrity [/k/keyrotor.db] page 3: bad; page 4: worse\n" + restored +
			"fail store.references [/k/keyrotor.db] a row of wraps; a row of keys\n" + restored + log},
		"broken": {inspection{has: 2, broken: store.ErrCorrupt, references: store.ErrCorrupt}, nil, false, schema +
			"fail store.integrity [/k/keyrotor.db] the store is damaged\n" + restored +
			"fail store.references [/k/keyrotor.db] the store is damaged\n" + restored + log},
		"uncounted": {inspection{has: 2, counts: store.ErrCorrupt}, nil, false, schema +
			"fail store.integrity [/k/keyrotor.db] the store is damaged\n" + restored + references + log},
		"log": {inspection{has: 2}, fileAt(t, "keyrotor.db-wal", 0o600, 40960, now), false, schema + whole + references +
			"ok store.log [/k/keyrotor.db-wal] 40 KiB\n"},
		"long log": {inspection{has: 2}, sized{longLog}, false, schema + whole + references + `
warn store.log [/k/keyrotor.db-wal] 256 MiB, which is long: it shrinks once no process reads an old state of the store
  -> look for a process that has the store open and hangs or is stopped
`[1:]},
	} {
		files := sqlite.Files{Path: "/k/keyrotor.db", Log: c.log}
		expect(t, name, Database(t.Context(), files, &c.i, c.deep), c.want)
		if c.i.deep != c.deep {
			t.Errorf("%s: the check was deep: %v", name, c.i.deep)
		}
	}
}

// sized is a file of a size.
type sized struct{ bytes int64 }

func (s sized) Name() string       { return "keyrotor.db-wal" }
func (s sized) Size() int64        { return s.bytes }
func (s sized) Mode() fs.FileMode  { return 0o600 }
func (s sized) ModTime() time.Time { return time.Time{} }
func (s sized) IsDir() bool        { return false }
func (s sized) Sys() any           { return nil }
