//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openNoFollow opens for reading. A pipe does not make it wait.
func openNoFollow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// tryLock locks the file at path until it is closed, or answers errLocked. A new
// lock file gets the owner of like, unless that is nil.
func tryLock(path string, like fs.FileInfo) (_ *os.File, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if like != nil {
		if err := sameOwner(f, like); err != nil {
			return nil, err
		}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return nil, errLocked
		}
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	// Somebody may have removed the lock file meanwhile; the next process would
	// lock another one.
	held, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(held, now) {
		return nil, errLocked
	}
	return f, nil
}

// sameOwner gives f the owner of like, where they differ.
func sameOwner(f *os.File, like fs.FileInfo) error {
	have, err := f.Stat()
	if err != nil {
		return err
	}
	from, ok := have.Sys().(*syscall.Stat_t)
	to, ok2 := like.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || from.Uid == to.Uid {
		return nil
	}
	return f.Chown(int(to.Uid), int(to.Gid))
}
