//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
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
