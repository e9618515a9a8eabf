//go:build unix

package draft

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// die leaves a draft as its process does when it is killed.
func die(t *testing.T, d *Draft) {
	t.Helper()
	if err := d.lock.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSweep: what a killed process left goes with the next draft in the folder;
// what one that is alive writes, and what is not ours, stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	alive, dead, published := begin(t, filepath.Join(dir, "b")), begin(t, filepath.Join(dir, "b")), begin(t, filepath.Join(dir, "c"))
	err := errors.Join(
		alive.Write(text("alive")), dead.Write(text("dead")), published.Write(text("published")), published.Publish(),
		os.Mkdir(dead.Path()+"-sub", 0o700),
		os.Mkdir(filepath.Join(dir, namePrefix+"empty"), 0o700),
		os.Mkdir(filepath.Join(dir, namePrefix+"foreign"), 0o700),
		os.WriteFile(filepath.Join(dir, namePrefix+"foreign", "file"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, namePrefix+"file"), nil, 0o600),
		os.Mkdir(filepath.Join(dir, namePrefix+"link"), 0o700),
		os.Symlink(filepath.Join(dir, namePrefix+"file"), filepath.Join(dir, namePrefix+"link", lockName)),
	)
	if err != nil {
		t.Fatal(err)
	}
	die(t, dead)
	die(t, published)
	left, err := Leftovers(dir)
	want := []string{dead.folder, published.folder}
	slices.Sort(want)
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("leftovers %q, %v; want %q", left, err, want)
	}
	next := begin(t, filepath.Join(dir, "a"))
	if left, err := Leftovers(dir); err != nil || len(left) > 0 {
		t.Errorf("leftovers after the next draft: %q, %v", left, err)
	}
	if err := errors.Join(alive.Publish(), alive.Discard(), next.Discard()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, namePrefix+"file", namePrefix+"foreign", namePrefix+"link", "b", "c")
}

// TestSyncFolder: a file system that does not sync folders is no reason to fail, for
// the file is published by then.
func TestSyncFolder(t *testing.T) {
	if err := syncFolder(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := syncFolder(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nowhere: %v", err)
	}
	const without = "/proc/self"
	d, err := os.Open(without)
	if errors.Is(err, fs.ErrNotExist) {
		return // a system without such a folder
	}
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("%s does sync: %v; the test needs a folder that does not", without, err)
	}
	if err := syncFolder(without); err != nil {
		t.Error(err)
	}
}
