package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"

	"github.com/keyrotor/keyrotor/core/store"
)

// maxFound bounds what is said about a damaged file: it can have thousands of faults,
// and the first say what the matter is.
const maxFound = 20

// Inspection is a database that somebody looks at: nothing in it is created,
// brought up to date or repaired. It is there for a store that Open refuses, too.
type Inspection struct {
	path       string
	db         *sql.DB
	migrations []migration
}

// Inspect opens a database to look at it. [fs.ErrNotExist] if there is none;
// store.ErrForeign and store.ErrCorrupt say what a file is that is no store.
func Inspect(ctx context.Context, path string) (_ *Inspection, err error) {
	i := &Inspection{}
	if i.migrations, err = loadMigrations(migrationFiles); err != nil {
		return nil, err
	}
	if i.path, err = absolute(path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(i.path); err != nil {
		return nil, err
	}
	if err := i.open(ctx); err != nil {
		return nil, errors.Join(i.fail("inspect", err), i.Close())
	}
	return i, nil
}

// open looks whether the file is ours. In a folder that we may not write SQLite
// cannot share memory with other processes. It reads the file all the same if told
// that nobody writes it, which is so while it has no write-ahead log.
func (i *Inspection) open(ctx context.Context) (err error) {
	if i.db, err = openReader(i.path); err != nil {
		return err
	}
	err = checkOurs(ctx, i.db)
	if !isReadOnly(err) {
		return err
	}
	if _, logErr := os.Stat(i.path + "-wal"); !errors.Is(logErr, fs.ErrNotExist) {
		return err
	}
	i.db.Close()
	if i.db, err = openPool(i.path, 1, busyTimeout, url.Values{"_query_only": {"true"}, "immutable": {"true"}}); err != nil {
		return err
	}
	return checkOurs(ctx, i.db)
}

// Close ends the inspection.
func (i *Inspection) Close() error {
	if i.db == nil {
		return nil
	}
	return i.db.Close()
}

func (i *Inspection) fail(op string, err error) error {
	return (&Store{path: i.path}).fail(op, err)
}

// Schema answers how many migrations the database has, and how many this build
// knows. store.ErrSchema if they are not this build's, store.ErrCorrupt if one is
// missing.
func (i *Inspection) Schema(ctx context.Context) (has, known int, err error) {
	has, err = applied(ctx, i.db, i.migrations)
	return has, len(i.migrations), i.fail("read schema", err)
}

// SchemaFaults compares tables and indexes with those that the database's migrations
// make, and answers what differs: something is missing, was changed, or was added.
func (i *Inspection) SchemaFaults(ctx context.Context) ([]string, error) {
	faults, err := i.schemaFaults(ctx)
	return faults, i.fail("compare schema", err)
}

func (i *Inspection) schemaFaults(ctx context.Context) ([]string, error) {
	has, err := applied(ctx, i.db, i.migrations)
	if err != nil {
		return nil, err
	}
	want, err := i.made(ctx, has)
	if err != nil {
		return nil, err
	}
	got, err := readSchema(ctx, i.db)
	if err != nil {
		return nil, err
	}
	var faults []string
	for name, text := range want {
		switch now, ok := got[name]; {
		case !ok:
			faults = append(faults, name+" is missing")
		case now != text:
			faults = append(faults, name+" is not as it was made")
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			faults = append(faults, name+" does not belong there")
		}
	}
	slices.Sort(faults)
	return faults[:min(len(faults), maxFound)], nil
}

// made is the schema that the first migrations make.
func (i *Inspection) made(ctx context.Context, migrations int) (map[string]string, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection has a memory of its own
	for _, m := range i.migrations[:migrations] {
		if _, err := db.ExecContext(ctx, m.sql); err != nil {
			return nil, err
		}
	}
	return readSchema(ctx, db)
}

// readSchema answers the text of tables, indexes and whatever else there is, by kind
// and name.
func readSchema(ctx context.Context, db querier) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	schema := make(map[string]string)
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, err
		}
		schema[name] = text
	}
	return schema, rows.Err()
}

// Integrity has SQLite check the file, and answers what it finds: the structure of
// its pages, or, if deep, the indexes against their tables as well, which takes
// several times as long. store.ErrCorrupt if the damage ends the check itself.
func (i *Inspection) Integrity(ctx context.Context, deep bool) ([]string, error) {
	found, err := integrityFaults(ctx, i.db, deep)
	return found, i.fail("check integrity", err)
}

// References answers the rows that refer to what is not there.
func (i *Inspection) References(ctx context.Context) ([]string, error) {
	found, err := referenceFaults(ctx, i.db)
	return found, i.fail("check references", err)
}

func integrityFaults(ctx context.Context, db querier, deep bool) ([]string, error) {
	check := "quick_check"
	if deep {
		check = "integrity_check"
	}
	found, err := texts(ctx, db, fmt.Sprintf(`PRAGMA %s(%d)`, check, maxFound))
	if len(found) == 1 && found[0] == "ok" {
		return nil, err
	}
	return found, err
}

func referenceFaults(ctx context.Context, db querier) ([]string, error) {
	return texts(ctx, db, fmt.Sprintf(
		`SELECT printf('a row of %%s refers to one of %%s that does not exist', "table", parent) FROM pragma_foreign_key_check LIMIT %d`, maxFound))
}

// texts answers the one column of a query.
func texts(ctx context.Context, db querier, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}

// Pages is how a database uses its file.
type Pages struct {
	// Size is that of one page in bytes.
	Size int64
	// Count is the number of pages; Free of them hold nothing.
	Count, Free int64
}

// Pages answers how the database uses its file.
func (i *Inspection) Pages(ctx context.Context) (Pages, error) {
	var p Pages
	err := i.db.QueryRowContext(ctx, `
		SELECT page_size, page_count, freelist_count FROM pragma_page_size, pragma_page_count, pragma_freelist_count`).
		Scan(&p.Size, &p.Count, &p.Free)
	return p, i.fail("count pages", err)
}

// Contents answers what the database holds. store.ErrSchema if its schema is not
// this build's; an older one is brought up to date by [Open].
func (i *Inspection) Contents(ctx context.Context) (*Contents, error) {
	has, known, err := i.Schema(ctx)
	if err != nil {
		return nil, err
	}
	if has < known {
		return nil, i.fail("read", fmt.Errorf("%w: it has %d of the %d migrations of this build: whatever opens it for work brings it up to date", store.ErrSchema, has, known))
	}
	s := &Store{path: i.path, reader: i.db}
	if s.id, err = readID(ctx, i.db); err != nil {
		return nil, i.fail("read", err)
	}
	return &Contents{reads: s, store: s}, nil
}
