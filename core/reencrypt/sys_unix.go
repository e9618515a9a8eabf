//go:build unix

package reencrypt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openRead opens a file without following a symbolic link, without waiting for
// the other end of a pipe, and where possible without changing its access time.
func openRead(path string) (*os.File, error) {
	const flags = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(path, flags|noAccessTime, 0)
	if noAccessTime != 0 && errors.Is(err, unix.EPERM) {
		return os.OpenFile(path, flags, 0) // only the owner may keep the access time
	}
	return f, err
}

// isSymlinkError reports whether openRead met a symbolic link.
func isSymlinkError(err error) bool { return errors.Is(err, unix.ELOOP) }

// lockNew locks a temporary file that was just created. It answers false if
// another run got hold of it first. A file system without locks is fine: there,
// no run can take the file for a leftover either.
func lockNew(f *os.File) bool {
	err := flock(f)
	if err != nil {
		return !errors.Is(err, unix.EWOULDBLOCK)
	}
	info, err := f.Stat()
	return err == nil && info.Sys().(*syscall.Stat_t).Nlink > 0
}

// removeLeftover removes a temporary file, unless a run that is alive writes it.
func removeLeftover(path string) error {
	f, err := openRead(path)
	if errors.Is(err, fs.ErrNotExist) || isSymlinkError(err) {
		return nil
	}
	if err == nil {
		defer f.Close()
		if flock(f) != nil {
			return nil
		}
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove what a killed run left behind: %w", err)
	}
	return nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// copyAttributes gives f the owner, mode and extended attributes of the source.
func copyAttributes(f *os.File, src *source) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	have, want := info.Sys().(*syscall.Stat_t), src.info.Sys().(*syscall.Stat_t)
	if have.Uid != want.Uid || have.Gid != want.Gid {
		if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
			return fmt.Errorf("cannot keep the file's owner %d:%d; run the command as that user: %w", want.Uid, want.Gid, err)
		}
	}
	// After the owner, because a change of owner clears set-uid bits; before the
	// attributes, because an access control list refines the mode.
	if err := f.Chmod(src.info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)); err != nil {
		return fmt.Errorf("cannot keep the file's mode: %w", err)
	}
	return copyExtended(f, src.file)
}

// publish renames the replacement over the path. Both files stay open: no other
// file can get the source's inode number until then, and the lock holds.
func publish(replacement, _ *os.File, path string) error {
	return os.Rename(replacement.Name(), path)
}

// syncFolder makes a rename within the folder last.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("the file is replaced, but the disk may not know yet: %w", err)
	}
	return nil
}
