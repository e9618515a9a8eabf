package sqlite

import (
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/keyrotor/keyrotor/core/store"
)

// fail names the store and the operation in an error, and says what to do about
// those that SQLite answers. It answers nil for nil.
func (s *Store) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store %s: %s: %w", s.path, op, explainAt(s.path, err))
}

// explainAt is explain with what SQLite does not tell, and the file system does.
func explainAt(path string, err error) error {
	switch code := codeOf(err); {
	case code == lib.SQLITE_IOERR:
		// SQLite knows a full disk, but neither a quota nor a limit on the size of files.
		if cause := noRoom(path); cause != nil {
			return full(fmt.Errorf("%w: %w", err, cause))
		}
	case code == 0 && isFull(err): // in a call of our own
		return full(err)
	case isMisread(code, err) && !errors.Is(err, store.ErrCorrupt):
		return damaged("%w", err)
	}
	return explain(err)
}

// isMisread reports whether the database does not hold what every one of this schema
// does: a table or column that our queries name, or a value of its column's type. The
// libraries have no codes of their own for that.
func isMisread(code int, err error) bool {
	switch code {
	case 0:
		return err != nil && strings.Contains(err.Error(), "sql: Scan error on column")
	case lib.SQLITE_ERROR:
		return strings.Contains(err.Error(), "no such ")
	default:
		return false
	}
}

// full is store.ErrFull, why, and what to do.
func full(err error) error {
	return fmt.Errorf("%w: %w: nothing was changed; free space on its file system, or lift the quota or limit that stops it", store.ErrFull, err)
}

// codeOf is SQLite's primary result code; 0 if the error is not SQLite's.
func codeOf(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff // the rest is detail
}

// explain turns SQLite's result codes into the errors of package store.
func explain(err error) error {
	switch codeOf(err) {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return damaged("%w", err)
	case lib.SQLITE_FULL:
		return full(err)
	case lib.SQLITE_READONLY:
		return fmt.Errorf("%w: %w: nothing was changed; let this user write the file and its folder, on a file system mounted writable", store.ErrReadOnly, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fmt.Errorf("%w: another process held its lock for %v: %w: look for one that is stopped or hangs", store.ErrBusy, busyTimeout, err)
	case lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		return fmt.Errorf("cannot open the file: %w: let this user read and write it and its folder", err)
	case lib.SQLITE_IOERR:
		return fmt.Errorf("the file system failed: %w: look at the system's log, and check the disk before trusting it", err)
	default:
		return err
	}
}

// isBusy reports whether another process holds a lock.
func isBusy(err error) bool { return codeOf(err) == lib.SQLITE_BUSY }

// isReadOnly reports whether SQLite had to write something and may not.
func isReadOnly(err error) bool { return codeOf(err) == lib.SQLITE_READONLY }

// damaged is store.ErrCorrupt, what is wrong, and what to do.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w: keep the file for examination and restore the newest backup",
		store.ErrCorrupt, fmt.Errorf(format, args...))
}

// fixed scans a blob into all of an array; another length is damage.
func fixed(dst []byte) fixedBlob { return fixedBlob{dst} }

type fixedBlob struct{ dst []byte }

// Scan implements [database/sql.Scanner].
func (f fixedBlob) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b) != len(f.dst) {
		return damaged("%d bytes stored where %d belong", len(b), len(f.dst))
	}
	copy(f.dst, b)
	return nil
}
