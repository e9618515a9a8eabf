// Package draft makes files that appear whole or not at all. A file is written in
// a private folder beside its place and linked there when it is finished; what is
// there already is never replaced. Whatever belongs to the file while it is being
// written, a database's journal say, is in that folder too.
//
// A process that is killed leaves its folder behind. The next draft in the same
// place removes it: a lock that ends with the process tells the two apart.
package draft

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// namePrefix and a number name the folder of a draft.
	namePrefix = ".keyrotor-draft-"
	// lockName cannot be the name of a file that is drafted.
	lockName = ".lock"
)

// ErrFull: there is no room for the file.
var ErrFull = errors.New("no room left")

// Draft is a file that is being made.
type Draft struct {
	place, folder string
	lock          *os.File
}

// New begins a file that is to be at place, whose folder must exist, and removes
// what killed processes left in that folder. Call Discard in any case.
func New(place string) (*Draft, error) {
	if base := filepath.Base(place); base == "." || base == ".." || os.IsPathSeparator(base[0]) {
		return nil, fmt.Errorf("%q names no file: give it a name", place)
	}
	parent := filepath.Dir(place)
	if err := sweep(parent); err != nil {
		return nil, err
	}
	for {
		folder, err := os.MkdirTemp(parent, namePrefix+"*") // mode 0700
		if err != nil {
			return nil, err
		}
		lock, err := lockNew(filepath.Join(folder, lockName))
		if err != nil {
			_ = os.RemoveAll(folder)
			return nil, err
		}
		if lock != nil {
			return &Draft{place: place, folder: folder, lock: lock}, nil
		}
		// Another process found the folder before it was locked, and is removing it.
	}
}

// Path is where the file is as long as it is a draft.
func (d *Draft) Path() string { return filepath.Join(d.folder, filepath.Base(d.place)) }

// Write makes the file, for this user alone, and sees what fill writes onto the
// disk. ErrFull if there is no room.
func (d *Draft) Write(fill func(io.Writer) error) error {
	f, err := os.OpenFile(d.Path(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	return explain(errors.Join(err, f.Close()))
}

// explain tells a lack of room from what else can go wrong.
func explain(err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return fmt.Errorf("%w: %w: nothing was changed; free space, or choose another place", ErrFull, err)
		}
	}
	return err
}

// Publish gives the file its place. Its content must be on the disk already. It
// fails with [fs.ErrExist] if something is there, and if anything beside the file
// is left in the draft: then the file is not all of what was written.
func (d *Draft) Publish() error {
	entries, err := os.ReadDir(d.folder)
	if err != nil {
		return err
	}
	var beside []string
	for _, e := range entries {
		if name := e.Name(); name != lockName && name != filepath.Base(d.place) {
			beside = append(beside, name)
		}
	}
	if len(beside) > 0 {
		return fmt.Errorf("%s is not complete: what is in %s could not be moved into it: is there room left?", d.place, strings.Join(beside, " and "))
	}
	if err := os.Link(d.Path(), d.place); err != nil {
		return linkError(err)
	}
	return syncFolder(filepath.Dir(d.place))
}

// linkError tells a file system that has no hard links from what else can go wrong.
func linkError(err error) error {
	for _, none := range []error{errors.ErrUnsupported, syscall.EPERM, syscall.EMLINK} {
		if errors.Is(err, none) {
			return fmt.Errorf("%w: use a file system that supports hard links", err)
		}
	}
	return explain(err)
}

// Discard removes the draft; what was published stays.
func (d *Draft) Discard() error {
	err := empty(d.folder)
	return errors.Join(err, d.lock.Close(), os.RemoveAll(d.folder))
}

// empty removes everything but the lock. That goes last, so that a draft of which
// a part is left is never without one.
func empty(folder string) error {
	entries, err := os.ReadDir(folder)
	errs := []error{err}
	for _, e := range entries {
		if e.Name() != lockName {
			errs = append(errs, os.RemoveAll(filepath.Join(folder, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Leftovers lists the drafts in a folder whose processes are gone.
func Leftovers(folder string) ([]string, error) {
	var left []string
	err := abandoned(folder, func(path string) error {
		left = append(left, path)
		return nil
	})
	return left, err
}

// sweep removes the drafts in a folder whose processes are gone.
func sweep(folder string) error {
	return abandoned(folder, func(path string) error {
		err := errors.Join(empty(path), os.RemoveAll(path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // another process was faster
			return fmt.Errorf("cannot remove what a killed process left behind: %w", err)
		}
		return nil
	})
}

// abandoned calls f with each draft in a folder whose process is gone, and keeps
// others from doing so meanwhile.
func abandoned(folder string, f func(path string) error) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), namePrefix) {
			continue
		}
		path := filepath.Join(folder, e.Name())
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDONLY|noFollow, 0)
		if errors.Is(err, fs.ErrNotExist) {
			// Nothing is in it yet, or any more. If its process is alive after all,
			// it makes another one.
			_ = os.Remove(path)
			continue
		}
		if err != nil {
			continue // another user's
		}
		if tryLock(lock) == nil {
			errs = append(errs, f(path))
		}
		_ = lock.Close()
	}
	return errors.Join(errs...)
}
