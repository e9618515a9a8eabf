package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/keyrotor/keyrotor/core/store"
)

const (
	// applicationID marks our files in their header: "Krot".
	applicationID = 0x4b726f74
	// busyTimeout is how long another process may keep the write lock before we
	// give up; contexts may end the wait sooner.
	busyTimeout = 10 * time.Second
	// busyPause is how long SQLite itself waits for the write lock before begin asks
	// again. In a longer wait its pauses grow to 100 ms, and a neighbour that
	// writes on and on gets the lock in every one of them.
	busyPause = 5 * time.Millisecond
	// readers is the number of snapshots that are read at the same time.
	readers = 4
)

func openWriter(path string, wait time.Duration) (*sql.DB, error) {
	return openPool(path, 1, wait, url.Values{"_txlock": {"immediate"}})
}

func openReader(path string) (*sql.DB, error) {
	return openPool(path, readers, busyTimeout, url.Values{"_query_only": {"true"}})
}

// openPool sets what SQLite keeps per connection: a commit waits for the disk,
// deleted wraps are overwritten, references hold, and no SQL that hides in the
// schema of a tampered file runs functions.
func openPool(path string, connections int, wait time.Duration, params url.Values) (*sql.DB, error) {
	params.Set("mode", "rw") // never create: see creator
	params.Set("_busy_timeout", strconv.FormatInt(wait.Milliseconds(), 10))
	params.Set("_synchronous", "FULL")
	params.Set("_foreign_keys", "true")
	params.Set("_defensive", "true")
	params.Set("_dqs", "false")
	params["_pragma"] = []string{"secure_delete(true)", "trusted_schema(false)"}
	connector, err := sqlite.NewConnector(fileURI(path, params))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func fileURI(path string, params url.Values) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") { // C:/… on Windows
		slashed = "/" + slashed
	}
	u := url.URL{Scheme: "file", Path: slashed, RawQuery: params.Encode()}
	return u.String()
}

// minEngine is the first SQLite without the WAL-reset bug, which corrupts a file
// that two connections write.
var minEngine = [3]int{3, 51, 3}

func checkEngine(ctx context.Context, db *sql.DB) error {
	var version string
	if err := db.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return err
	}
	return checkEngineVersion(version)
}

func checkEngineVersion(version string) error {
	var v [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2]); err != nil {
		return fmt.Errorf("the SQLite library has the unreadable version %q", version)
	}
	for i := range v {
		if v[i] > minEngine[i] {
			return nil
		}
		if v[i] < minEngine[i] {
			return fmt.Errorf("the SQLite library is %s; versions before %d.%d.%d can corrupt a database that two processes share: build with a newer modernc.org/sqlite",
				version, minEngine[0], minEngine[1], minEngine[2])
		}
	}
	return nil
}

// checkOurs refuses files that this package did not make, before it changes
// anything in them.
func checkOurs(ctx context.Context, db *sql.DB) error {
	var id, pages int64
	err := db.QueryRowContext(ctx, `SELECT application_id, page_count FROM pragma_application_id, pragma_page_count`).Scan(&id, &pages)
	switch {
	case err != nil:
		return err
	case id == applicationID:
		return nil
	case pages == 0:
		return fmt.Errorf("%w: the file is empty, which a store never is: restore the newest backup, or remove the file to start anew", store.ErrCorrupt)
	default:
		return fmt.Errorf("%w: the file is another program's SQLite database (application id 0x%08x): choose another path", store.ErrForeign, uint32(id))
	}
}

func setWAL(ctx context.Context, db *sql.DB) error {
	var mode string
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("SQLite keeps journal mode %q and refuses WAL here: use a local file system", mode)
	}
	return nil
}
