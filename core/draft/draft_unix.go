//go:build unix

package draft

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// noFollow opens no symbolic link, and waits for nobody at the end of a pipe.
const noFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK

// lockNew makes a lock file and locks it until it is closed. It answers nil if
// another process got hold of it first. A file system without locks is fine: there,
// nobody can take the draft for a leftover either.
func lockNew(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = tryLock(f)
	info, statErr := f.Stat()
	if errors.Is(err, unix.EWOULDBLOCK) || statErr != nil || info.Sys().(*syscall.Stat_t).Nlink == 0 {
		return nil, f.Close()
	}
	return f, nil
}

func tryLock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// syncFolder makes a new name in the folder outlive a power cut, on file systems that
// know of that.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
