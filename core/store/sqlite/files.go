package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/draft"
)

// Files are what a store is on the disk. What is not there is nil.
type Files struct {
	// Path is that of the database, absolute.
	Path string
	// Log is the write-ahead log, Shared the memory that processes share.
	Folder, Database, Log, Shared fs.FileInfo
	// Drafts are what was left in the folder by a process that was killed, or is not
	// finished: a store that was being made, or a probe for room.
	Drafts []fs.FileInfo
	// Writable says why this process may not write the database or its folder, both of
	// which a change needs; nil if it may.
	Writable error
	// Remote says why the file system cannot hold a store; nil if it can.
	Remote error
}

// Stat looks at the files of a store and opens none. A store that does not exist is
// no error.
func Stat(path string) (f Files, err error) {
	if f.Path, err = absolute(path); err != nil {
		return f, err
	}
	folder := filepath.Dir(f.Path)
	for _, file := range []struct {
		path string
		info *fs.FileInfo
	}{
		{folder, &f.Folder},
		{f.Path, &f.Database},
		{f.Path + "-wal", &f.Log},
		{f.Path + "-shm", &f.Shared},
	} {
		switch *file.info, err = os.Stat(file.path); {
		case errors.Is(err, fs.ErrNotExist):
			*file.info = nil
		case err != nil:
			return f, err
		}
	}
	if f.Folder == nil {
		return f, nil
	}
	f.Writable, f.Remote = mayWrite(folder), checkFileSystem(folder)
	if f.Database != nil && f.Writable == nil {
		f.Writable = mayWrite(f.Path)
	}
	f.Drafts, err = drafts(f.Path)
	return f, err
}

// drafts lists what killed processes left of drafts in the folder, and the hidden
// files beside the database that bear its name.
func drafts(path string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	left, err := draft.Leftovers(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var found []fs.FileInfo
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), draftPrefix(path)) && !slices.Contains(left, filepath.Join(filepath.Dir(path), e.Name())) {
			continue
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // finished meanwhile
		case err != nil:
			return nil, err
		default:
			found = append(found, info)
		}
	}
	return found, nil
}

// draftPrefix begins the name of every file that is made beside a database for a
// moment.
func draftPrefix(path string) string { return "." + filepath.Base(path) + "." }
