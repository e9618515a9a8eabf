//go:build !unix

package reencrypt

import (
	"errors"
	"io/fs"
	"os"
)

var errSymlink = errors.New("is a symbolic link")

// openRead opens a file without following a symbolic link.
func openRead(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errSymlink}
	}
	return os.Open(path)
}

// isSymlinkError reports whether openRead met a symbolic link.
func isSymlinkError(err error) bool { return errors.Is(err, errSymlink) }

// lockNew: being open is the lock here, see removeLeftover.
func lockNew(*os.File) bool { return true }

// removeLeftover removes a temporary file, unless a run that is alive writes it:
// on Windows a file that is open cannot be removed.
func removeLeftover(path string) error {
	_ = os.Remove(path)
	return nil
}

// copyAttributes gives f the mode of the source. The owner and the access
// control list come from the folder.
func copyAttributes(f *os.File, src *source) error { return f.Chmod(src.info.Mode().Perm()) }

// publish renames the replacement over the path. Both must be closed for that on
// Windows.
func publish(replacement, src *os.File, path string) error {
	if err := errors.Join(replacement.Close(), src.Close()); err != nil {
		return err
	}
	return os.Rename(replacement.Name(), path)
}

// syncFolder: there is no such thing here.
func syncFolder(string) error { return nil }
