package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core/draft"
)

// creator makes a new database. It does so as a draft, which is put in place when
// it is finished. Other processes therefore see no store or a whole one; an empty
// file is never taken for a new store; and no file descriptor of the database is
// ever closed outside SQLite, which on POSIX systems would drop the locks that this
// process has on it.
type creator struct {
	path       string
	migrations []migration
	now        func() time.Time
	log        *slog.Logger
}

func (c creator) createIfMissing(ctx context.Context) error {
	if err := c.checkFolder(); err != nil {
		return err
	}
	// The log first: once a store exists, its log may appear at any moment.
	_, logErr := os.Stat(c.path + "-wal")
	if _, err := os.Stat(c.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if logErr == nil {
		return damaged("the database is gone, and its write-ahead log %s-wal is still there", c.path)
	}
	nothing := func(io.Writer) error { return nil }
	fill := func(path string) error { return c.fill(ctx, path) }
	switch err := c.make(nothing, fill); {
	case errors.Is(err, fs.ErrExist): // another process was faster: its store is the one
		return nil
	case err != nil:
		return fmt.Errorf("create: %w", err)
	}
	c.log.InfoContext(ctx, "store created", "path", c.path)
	return nil
}

// make puts a database in place: what write writes, and finish completes. fs.ErrExist
// if there is one.
func (c creator) make(write func(io.Writer) error, finish func(path string) error) (err error) {
	d, err := draft.New(c.path)
	if err != nil {
		return fmt.Errorf("%w: let this user create files in that folder", err)
	}
	defer func() { err = errors.Join(err, d.Discard()) }()
	if err := d.Write(write); err != nil {
		return err
	}
	if err := finish(d.Path()); err != nil {
		return err
	}
	return d.Publish()
}

func (c creator) checkFolder() error {
	folder := filepath.Dir(c.path)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: create it, or correct the path", folder)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder: correct the path", folder)
	}
	return checkFileSystem(folder)
}

// fill writes a database without a key. Closing it leaves one file, on the disk.
func (c creator) fill(ctx context.Context, path string) (err error) {
	db, err := openWriter(path, busyTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkEngine(ctx, db); err != nil {
		return err
	}
	if err := setWAL(ctx, db); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, applicationID)); err != nil {
		return err
	}
	return migrate(ctx, db, c.migrations, c.now(), c.log)
}

func absolute(path string) (string, error) {
	if path == "" {
		return "", errors.New("store: the path of the database file is empty: set it")
	}
	return filepath.Abs(path)
}
