//go:build unix

package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadLockRefuses: a lock that everybody may write or replace pins nothing.
func TestReadLockRefuses(t *testing.T) {
	golden, err := os.ReadFile(goldenLock)
	if err != nil {
		t.Fatal(err)
	}
	chmod := func(t *testing.T, path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir, file string)
		want    string // DIR is the test's directory
	}{
		"as Write makes it": {func(t *testing.T, _, file string) { chmod(t, file, 0o644) }, ""},
		"for the group":     {func(t *testing.T, _, file string) { chmod(t, file, 0o664) }, ""},
		"world-writable":    {func(t *testing.T, _, file string) { chmod(t, file, 0o646) }, "plugin lock: DIR/here/plugins.lock can be written by everybody: chmod o-w it"},
		"open directory":    {func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777) }, "plugin lock: the directory DIR/here can be written by everybody: chmod o-w it"},
		"sticky directory":  {func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777|os.ModeSticky) }, ""},
		"a link": {func(t *testing.T, dir, file string) {
			move(t, file, filepath.Join(dir, "..", "there"))
		}, ""},
		"a link into an open directory": {func(t *testing.T, dir, file string) {
			there := filepath.Join(dir, "..", "there")
			move(t, file, there)
			chmod(t, there, 0o777)
		}, "plugin lock: the directory DIR/there can be written by everybody: chmod o-w it"},
		"a link in an open directory": {func(t *testing.T, dir, file string) {
			move(t, file, filepath.Join(dir, "..", "there"))
			chmod(t, dir, 0o777)
		}, "plugin lock: the directory DIR/here can be written by everybody: chmod o-w it"},
		"a link to what everybody may write": {func(t *testing.T, dir, file string) {
			move(t, file, filepath.Join(dir, "..", "there"))
			chmod(t, file, 0o666)
		}, "plugin lock: DIR/here/plugins.lock can be written by everybody: chmod o-w it"},
		"a directory": {func(t *testing.T, _, file string) {
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "plugin lock: DIR/here/plugins.lock is not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			top, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(top, "here")
			file := filepath.Join(dir, "plugins.lock")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, golden, 0o600)); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, dir, file)
			_, err = ReadLock(file)
			want := strings.ReplaceAll(c.want, "DIR", top)
			if (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// move puts a file into another directory, and a link in its place.
func move(t *testing.T, file, to string) {
	t.Helper()
	moved := filepath.Join(to, filepath.Base(file))
	if err := errors.Join(os.Mkdir(to, 0o700), os.Rename(file, moved), os.Symlink(moved, file)); err != nil {
		t.Fatal(err)
	}
}

// TestReadLockOfAPipe: opening one would wait for a writer.
func TestReadLockOfAPipe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plugins.lock")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLock(file); err == nil || !strings.HasSuffix(err.Error(), "plugins.lock is not a regular file") {
		t.Errorf("got %v", err)
	}
}
