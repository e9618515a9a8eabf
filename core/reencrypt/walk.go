package reencrypt

import (
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

// gitFolder is passed over: its files have their names from their content.
const gitFolder = ".git"

// entry is something that the walk came upon.
type entry struct {
	path   string
	kind   entryKind
	reason string // of skippedEntry
	err    error  // of failedEntry
	stat   func() (fs.FileInfo, error)
}

type entryKind uint8

const (
	fileEntry entryKind = iota
	// temporaryEntry is a file that a run, alive or killed, was writing.
	temporaryEntry
	skippedEntry
	// failedEntry could not be looked at.
	failedEntry
)

// walk goes over the files at and below the paths, each once, in the order of
// the paths and sorted below each. It opens nothing but folders.
func walk(paths []string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		w := walker{yield: yield, swept: map[string]bool{}}
		for _, root := range roots(paths) {
			if root.alone {
				w.sweep(filepath.Dir(root.path))
			}
			// The callback answers every error itself.
			_ = filepath.WalkDir(root.path, w.visit(root.path))
		}
	}
}

type walker struct {
	yield func(entry) bool
	// stopped: the consumer wants no more.
	stopped bool
	// swept are the folders whose temporary files were handed out already.
	swept map[string]bool
}

func (w *walker) emit(e entry) error {
	w.stopped = w.stopped || !w.yield(e)
	if w.stopped {
		return fs.SkipAll
	}
	return nil
}

func (w *walker) visit(root string) fs.WalkDirFunc {
	return func(path string, d fs.DirEntry, err error) error {
		switch {
		case w.stopped:
			return fs.SkipAll
		case err != nil:
			return w.emit(entry{path: path, kind: failedEntry, err: err})
		case d.IsDir() && d.Name() == gitFolder && path != root:
			if err := w.emit(entry{path: path, kind: skippedEntry, reason: ReasonGit}); err != nil {
				return err
			}
			return fs.SkipDir
		case d.IsDir():
			return nil
		case d.Type() != 0:
			return w.emit(entry{path: path, kind: skippedEntry, reason: reasonOf(d.Type())})
		case isTemporary(d.Name()):
			return w.emit(entry{path: path, kind: temporaryEntry})
		default:
			return w.emit(entry{path: path, kind: fileEntry, stat: d.Info})
		}
	}
}

// sweep hands out the temporary files in the folder of a file that was named by
// itself: nobody may ever walk that folder.
func (w *walker) sweep(folder string) {
	if w.swept[folder] {
		return
	}
	w.swept[folder] = true
	entries, err := os.ReadDir(folder)
	if err != nil {
		return // then the file tells what is wrong
	}
	for _, d := range entries {
		if d.Type() == 0 && isTemporary(d.Name()) && !w.stopped {
			_ = w.emit(entry{path: filepath.Join(folder, d.Name()), kind: temporaryEntry})
		}
	}
}

// reasonOf says why a file of this type, which is not a regular one, is skipped.
func reasonOf(t fs.FileMode) string {
	switch {
	case t&fs.ModeSymlink != 0:
		return ReasonSymlink
	case t&fs.ModeNamedPipe != 0:
		return ReasonPipe
	case t&fs.ModeSocket != 0:
		return ReasonSocket
	case t&fs.ModeDevice != 0:
		return ReasonDevice
	default:
		return ReasonIrregular
	}
}

// root is a path that a walk starts at.
type root struct {
	path string
	// folder: is one; alone: is a file that was named by itself.
	folder, alone bool
	// canonical is the same for every way of naming a file.
	canonical string
}

// roots answers the paths without those that another one covers.
func roots(paths []string) []root {
	all := make([]root, 0, len(paths))
	folders := map[string]bool{}
	for _, path := range paths {
		r := newRoot(path)
		all = append(all, r)
		if r.folder {
			folders[r.canonical] = true
		}
	}
	kept := all[:0]
	seen := map[string]bool{}
	for _, r := range all {
		if !seen[r.canonical] && !r.covered(folders) {
			kept = append(kept, r)
		}
		seen[r.canonical] = true
	}
	return kept
}

func newRoot(path string) root {
	if path == "" {
		return root{} // which does not exist; cleaned it would be the working folder
	}
	// Without a trailing slash, which would follow a symbolic link.
	r := root{path: filepath.Clean(path)}
	info, err := os.Lstat(r.path)
	r.folder = err == nil && info.IsDir()
	r.alone = err == nil && !info.IsDir()
	r.canonical = canonical(r.path)
	return r
}

// canonical resolves everything but the last element, which may be a symbolic
// link that is to be reported as one.
func canonical(path string) string {
	folder, name := filepath.Split(path)
	if abs, err := filepath.Abs(folder); err == nil {
		folder = abs
	}
	if resolved, err := filepath.EvalSymlinks(folder); err == nil {
		folder = resolved
	}
	return filepath.Join(folder, name)
}

// covered reports whether the walk of one of the folders comes upon r.
func (r root) covered(folders map[string]bool) bool {
	if r.path == "" {
		return false
	}
	name, folder := r.canonical, r.folder
	for !folder || filepath.Base(name) != gitFolder {
		parent := filepath.Dir(name)
		if parent == name {
			return false
		}
		if folders[parent] {
			return true
		}
		name, folder = parent, true
	}
	return false
}
