package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A Unix socket's path has room for 103 bytes on macOS and 107 on Linux. go-plugin
// adds a directory and a file name with up to ten random digits each.
const (
	maxSocketPath   = 103
	socketDirPrefix = "keyrotor-socket-"
	socketPathRest  = len("/keyrotor-socket-4294967295/plugin-dir4294967295/plugin4294967295")
)

// staleAfter is how old a socket directory is when nobody can need it any more: it
// is removed as soon as the plugin has answered, and a start is given up before.
const staleAfter = 10 * startTimeout

// sweepSocketDirs removes what hosts left behind that were killed while a plugin
// was starting. What is not ours to remove, stays.
func sweepSocketDirs(now time.Time, roots ...string) {
	for _, root := range roots {
		left, err := filepath.Glob(filepath.Join(root, socketDirPrefix+"*"))
		if err != nil {
			continue // a root that reads as a pattern
		}
		for _, dir := range left {
			if info, err := os.Lstat(dir); err == nil && info.IsDir() && now.Sub(info.ModTime()) > staleAfter {
				_ = os.RemoveAll(dir)
			}
		}
	}
}

// makeSocketDir makes a directory that only we may enter, in the first of the
// given ones whose path is short enough.
func makeSocketDir(roots ...string) (string, error) {
	var errs []error
	for _, root := range roots {
		root, err := filepath.Abs(root)
		if err == nil && len(root)+socketPathRest > maxSocketPath {
			err = fmt.Errorf("%s: the path is too long for a Unix socket: at most %d bytes, it has %d", root, maxSocketPath-socketPathRest, len(root))
		}
		if err == nil {
			var dir string
			if dir, err = os.MkdirTemp(root, socketDirPrefix); err == nil {
				return dir, nil
			}
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no place for a plugin's socket, set TMPDIR to a short path: %w", errors.Join(errs...))
}
