//go:build !unix

package sqlite

import (
	"errors"
	"os"
)

// checkMode leaves access to the folder's own list: there are no mode bits here.
func checkMode(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file: correct the path")
	}
	return nil
}
