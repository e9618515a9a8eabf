package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// lockPoll is how often a held lock is tried again. Waiting in the kernel instead
// would not end with the context.
const lockPoll = 5 * time.Millisecond

// errLocked: another process, or another instance in this one, holds the lock.
var errLocked = errors.New("the lock is held")

// kekFile is the file on disk. Its writers hold the lock, so whatever lies at the
// temporary path then was left by one that died.
type kekFile struct {
	path string
	// rename and link are os.Rename and os.Link: the step that makes a write count.
	rename, link func(oldpath, newpath string) error
}

func newKEKFile(path string) kekFile {
	return kekFile{path: filepath.Clean(path), rename: os.Rename, link: os.Link}
}

// read answers the bytes, which the caller wipes, and what identifies them.
func (k kekFile) read() ([]byte, fs.FileInfo, error) {
	f, err := openNoFollow(k.path)
	if err != nil {
		return nil, nil, k.openError(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, ioError(err)
	}
	if err := k.checkInfo(info); err != nil {
		return nil, nil, err
	}
	// The size is known, so that no buffer grows and leaves copies behind.
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		clear(data)
		return nil, nil, ioError(err)
	}
	return data, info, nil
}

func (k kekFile) openError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return missingError(k.path)
	}
	// How a link or a socket fails to open differs between systems.
	if info, statErr := os.Lstat(k.path); statErr == nil && !info.Mode().IsRegular() {
		return k.checkInfo(info)
	}
	return ioError(err)
}

func (k kekFile) checkInfo(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return configError(attrPath, "%w: %s is %s: name the file itself", ErrNotRegular, k.path, kind(info.Mode()))
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return configError(attrPath, "%w: %s has mode %04o: see who may have read it, then `chmod 600` it",
			ErrPermissions, k.path, perm)
	}
	if info.Size() > maxFileSize {
		return corruptError("it has %d bytes, over the limit of %d", info.Size(), maxFileSize)
	}
	return nil
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a folder"
	default:
		return "a device, pipe or socket"
	}
}

// unchanged reports whether the path still holds what info was read from. Every
// write makes a new inode, so nothing but an edit in place can be missed, and
// that only within one tick of the file system's clock.
func (k kekFile) unchanged(info fs.FileInfo) bool {
	now, err := os.Lstat(k.path)
	return err == nil && os.SameFile(now, info) && now.Mode() == info.Mode() &&
		now.Size() == info.Size() && now.ModTime().Equal(info.ModTime())
}

// lock waits for the lock, which ends with the process at the latest.
func (k kekFile) lock(ctx context.Context) (unlock func(), err error) {
	// Root may rotate the KEK of a service; the service must still get at the lock.
	like, err := os.Lstat(k.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, ioError(err)
	}
	for {
		f, err := tryLock(k.path+".lock", like)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, configError(attrPath, "the folder of %s does not exist: make it first", k.path)
		}
		if !errors.Is(err, errLocked) {
			return nil, ioError(err)
		}
		select {
		case <-ctx.Done():
			return nil, provider.Errorf(provider.Unavailable, "another process is changing %s: %w", k.path, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// exists keeps a call that needs the file from leaving a lock beside nothing.
func (k kekFile) exists() error {
	if _, err := os.Lstat(k.path); errors.Is(err, fs.ErrNotExist) {
		return missingError(k.path)
	}
	return nil
}

// create makes the file whole at once, or fails with ErrExists. A link never
// replaces anything, not even what came without the lock.
func (k kekFile) create(data []byte) error {
	tmp, err := k.writeTemp(data, nil)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := k.link(tmp, k.path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return provider.Errorf(provider.AlreadyExists, "%w: %s: nothing was changed", ErrExists, k.path)
		}
		return ioError(err)
	}
	return syncDir(k.path)
}

// replace swaps the file for one with the owner and mode of the old one.
func (k kekFile) replace(data []byte, old fs.FileInfo) error {
	tmp, err := k.writeTemp(data, old)
	if err != nil {
		return err
	}
	if err := k.rename(tmp, k.path); err != nil {
		_ = os.Remove(tmp)
		return ioError(err)
	}
	return syncDir(k.path)
}

func (k kekFile) writeTemp(data []byte, like fs.FileInfo) (path string, err error) {
	path = k.path + ".tmp"
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", ioError(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", ioError(err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(path)
			err = ioError(err)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return "", err
	}
	if like != nil {
		if err := f.Chmod(like.Mode().Perm()); err != nil {
			return "", err
		}
		if err := sameOwner(f, like); err != nil {
			return "", err
		}
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return path, f.Close()
}

// syncDir makes the new name of a file last.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return ioError(err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return ioError(err)
	}
	return nil
}
