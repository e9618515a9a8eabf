package draft

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
)

func begin(t *testing.T, place string) *Draft {
	t.Helper()
	d, err := New(place)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func wantNames(t *testing.T, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("the folder holds %q, want %q", names, want)
	}
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	place := filepath.Join(dir, "a.txt")
	d := begin(t, place)
	if err := d.Write(text("whole")); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, filepath.Base(d.folder))
	if info, err := os.Stat(d.folder); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %v, %v", info.Mode(), err)
	}
	if err := d.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "a.txt")
	info, err := os.Stat(place)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if b, err := os.ReadFile(place); err != nil || string(b) != "whole" {
		t.Errorf("it holds %q, %v", b, err)
	}
}

// TestPublishReplacesNothing: not even what came while the draft was written.
func TestPublishReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	place := filepath.Join(dir, "a.txt")
	d := begin(t, place)
	if err := d.Write(text("late")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(place, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Publish(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "a.txt")
	if b, err := os.ReadFile(place); err != nil || string(b) != "first" {
		t.Errorf("it holds %q, %v", b, err)
	}
}

// TestLinkError: each failure of the last step has advice of its own.
func TestLinkError(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.EPERM:      ": use a file system that supports hard links",
		syscall.EOPNOTSUPP: ": use a file system that supports hard links",
		syscall.EIO:        "",
	} {
		err := linkError(&os.LinkError{Op: "link", Old: "a", New: "b", Err: errno})
		if got := "link a b: " + errno.Error() + want; err.Error() != got || !errors.Is(err, errno) {
			t.Errorf("%v, want %s", err, got)
		}
	}
	if err := linkError(&os.LinkError{Op: "link", Err: syscall.ENOSPC}); !errors.Is(err, ErrFull) {
		t.Errorf("without room for the name: %v", err)
	}
}

// TestPublishIncomplete: with a log beside it, a database is not all in one file.
func TestPublishIncomplete(t *testing.T) {
	dir := t.TempDir()
	d := begin(t, filepath.Join(dir, "a.db"))
	err := errors.Join(d.Write(text("most")), os.WriteFile(d.Path()+"-wal", []byte("rest"), 0o600), os.WriteFile(d.Path()+"-shm", nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "a.db") + " is not complete: what is in a.db-shm and a.db-wal could not be moved into it: is there room left?"
	if err := d.Publish(); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)
}

func TestWrite(t *testing.T) {
	stop := errors.New("stop")
	for failure, full := range map[error]bool{
		stop: false,
		&fs.PathError{Op: "write", Path: "a", Err: syscall.ENOSPC}: true,
	} {
		d := begin(t, filepath.Join(t.TempDir(), "a"))
		err := d.Write(func(io.Writer) error { return failure })
		if !errors.Is(err, failure) || errors.Is(err, ErrFull) != full {
			t.Errorf("%v: %v", failure, err)
		}
		if err := d.Write(text("again")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("written twice: %v", err)
		}
		if err := d.Discard(); err != nil {
			t.Error(err)
		}
	}
	for _, nameless := range []string{"", ".", "..", "/", "a/.."} {
		if _, err := New(nameless); err == nil || err.Error() != fmt.Sprintf("%q names no file: give it a name", nameless) {
			t.Errorf("%q: %v", nameless, err)
		}
	}
	if _, err := New(filepath.Join(t.TempDir(), "nowhere", "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

// TestSweepRace: however drafts and sweeps of one folder interleave, no draft loses
// its files and none is left.
func TestSweepRace(t *testing.T) {
	dir := t.TempDir()
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				d, err := New(filepath.Join(dir, fmt.Sprintf("%d-%d", w, i)))
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(d.Write(text("x")), sweep(dir), d.Publish(), d.Discard()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != workers*each {
		t.Errorf("%d entries, %v; want %d", len(entries), err, workers*each)
	}
}
