//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package local

import (
	"io/fs"
	"os"
)

// Elsewhere there is nothing that these could rely on: Windows keeps access rights
// in lists that a file mode does not show, and a KEK file that seems private and
// is not would be worse than none.

func openNoFollow(string) (*os.File, error) { return nil, ErrPlatform }

func tryLock(string, fs.FileInfo) (*os.File, error) { return nil, ErrPlatform }

func sameOwner(*os.File, fs.FileInfo) error { return ErrPlatform }
