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

// alignModes does nothing: there are no mode bits here.
func alignModes(string) {}

// isFull leaves it to SQLite to know a full disk.
func isFull(error) bool { return false }

// noRoom likewise.
func noRoom(string) error { return nil }

// mayWrite leaves it to the system to say so when something is written.
func mayWrite(string) error { return nil }
