package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// creator makes a new database. It does so under another name and then links the
// finished file into place. Other processes therefore see no store or a whole one;
// an empty file is never taken for a new store; and no file descriptor of the
// database is ever closed outside SQLite, which on POSIX systems would drop the
// locks that this process has on it.
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
	draft, err := os.CreateTemp(filepath.Dir(c.path), "."+filepath.Base(c.path)+".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("%w: let this user create files in that folder", err)
	}
	defer os.Remove(draft.Name())
	if err := draft.Close(); err != nil {
		return err
	}
	if err := c.fill(ctx, draft.Name()); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	switch err := os.Link(draft.Name(), c.path); {
	case errors.Is(err, fs.ErrExist): // another process was faster: its store is the one
		return nil
	case err != nil:
		return fmt.Errorf("create: %w: use a file system that supports hard links", err)
	}
	c.log.InfoContext(ctx, "store created", "path", c.path)
	return syncFolder(filepath.Dir(c.path))
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
