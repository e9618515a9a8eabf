package sqlite

import (
	"errors"
	"fmt"

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
	return fmt.Errorf("store %s: %s: %w", s.path, op, explain(err))
}

// explain turns SQLite's result codes into the errors of package store.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff { // the rest is detail
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return damaged("%w", err)
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w: nothing was changed; free space on its file system", store.ErrFull, err)
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
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_BUSY
}

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
