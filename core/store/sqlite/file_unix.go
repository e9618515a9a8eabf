//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkMode refuses a database that others may read or write. The files beside it
// (-wal, -shm) get its mode from SQLite.
func checkMode(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file: correct the path")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("mode %04o lets other users at the file: chmod 600 %s", mode, path)
	}
	return nil
}

// alignModes lets the database's owner write the files beside it where he may write
// the database. SQLite copies its mode when it makes them, so those that were made
// while it was read-only would keep everybody from writing afterwards. Where we may
// not change them, SQLite says what that means.
func alignModes(path string) {
	const write = 0o200
	info, err := os.Stat(path)
	if err != nil || info.Mode()&write == 0 {
		return
	}
	for _, beside := range []string{path + "-wal", path + "-shm"} {
		if i, err := os.Stat(beside); err == nil && i.Mode()&write == 0 {
			_ = os.Chmod(beside, info.Mode().Perm())
		}
	}
}

// isFull reports whether the operating system refused a write for want of room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// minProbe is more than the files of a store have that is being made.
const minProbe = 1 << 20

// noRoom tries to write behind the end of the longest of the database's files, and
// answers why that cannot be done; nil if it can, or fails for another reason.
func noRoom(path string) error {
	end := int64(minProbe)
	for _, file := range []string{path, path + "-wal"} {
		if info, err := os.Stat(file); err == nil {
			end = max(end, info.Size())
		}
	}
	probe, err := os.CreateTemp(filepath.Dir(path), draftPrefix(path)+"probe-*")
	if err == nil {
		defer probe.Close()
		defer os.Remove(probe.Name())
		_, err = probe.WriteAt(make([]byte, 8<<10), end)
	}
	if !isFull(err) {
		return nil
	}
	var cause syscall.Errno // without the probe's name
	errors.As(err, &cause)
	return cause
}

// mayWrite answers why this process may not write the file or folder.
func mayWrite(path string) error {
	if err := unix.Access(path, unix.W_OK); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
