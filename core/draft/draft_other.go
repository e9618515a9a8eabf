//go:build !unix

package draft

import (
	"errors"
	"os"
)

const noFollow = 0

// lockNew makes a lock file. Without locks no draft is ever taken for a leftover.
func lockNew(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

func tryLock(*os.File) error { return errors.ErrUnsupported }

// syncFolder does nothing: folders cannot be opened for that here.
func syncFolder(string) error { return nil }
