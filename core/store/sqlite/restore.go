package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Restore makes a store at cfg.Path out of a database that Snapshot wrote, and
// write writes again. Nobody sees it before it has passed [Store.Check] and accept,
// which may change it; until then, and if anything fails, nothing is at cfg.Path.
// fs.ErrExist if a store is there, or a part of one.
func Restore(ctx context.Context, cfg Config, write func(io.Writer) error, accept func(*Store) error) error {
	path, err := absolute(cfg.Path)
	if err != nil {
		return err
	}
	c := creator{path: path, now: cfg.Now, log: cfg.Log}
	if err := c.restore(ctx, write, accept); err != nil {
		return fmt.Errorf("restore the store %s: %w", path, explain(err))
	}
	return nil
}

func (c creator) restore(ctx context.Context, write func(io.Writer) error, accept func(*Store) error) error {
	if err := c.checkFolder(); err != nil {
		return err
	}
	if err := c.checkVacant(); err != nil {
		return err
	}
	return c.make(write, func(path string) error {
		s, err := Open(ctx, Config{Path: path, Now: c.now, Log: c.log})
		if err != nil {
			return err
		}
		if err = s.Check(ctx); err == nil {
			err = accept(s)
		}
		return errors.Join(err, s.Close())
	})
}

// checkVacant refuses a place where any file of a database is: SQLite would take a
// log or a journal for a part of the new one.
func (c creator) checkVacant() error {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		switch _, err := os.Lstat(c.path + suffix); {
		case err == nil:
			return fmt.Errorf("%w: %s: nothing was changed; stop whatever uses it, and move it away, together with the files beside it that begin with its name",
				fs.ErrExist, c.path+suffix)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}
