package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Unix socket's path has room for 103 bytes on macOS and 107 on Linux. go-plugin
// adds a directory and a file name with up to ten random digits each.
const (
	maxSocketPath   = 103
	socketDirPrefix = "keyrotor-"
	socketPathRest  = len("/keyrotor-4294967295/plugin-dir4294967295/plugin4294967295")
)

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
