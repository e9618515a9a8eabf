package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	write := func(t *testing.T, path string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, to, from string) {
		t.Helper()
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	chmod := func(t *testing.T, path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	name := FileName("x")
	for title, c := range map[string]struct {
		prepare func(t *testing.T, top, dir string)
		want    string // the file that is found, from top
		err     string
	}{
		"plain":       {func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, name), 0o755) }, "plugins/" + name, ""},
		"missing":     {func(*testing.T, string, string) {}, "", "put its binary into the plugin directory"},
		"no x bit":    {func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, name), 0o644) }, "", "not executable"},
		"world-write": {func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, name), 0o757) }, "", "can be written by everybody"},
		"a directory": {func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, name, "f"), 0o755) }, "", "not a regular file"},
		"open dir":    {func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, name), 0o755); chmod(t, dir, 0o777) }, "", "the directory"},
		"sticky dir": {func(t *testing.T, _, dir string) {
			write(t, filepath.Join(dir, name), 0o755)
			chmod(t, dir, 0o777|os.ModeSticky)
		}, "plugins/" + name, ""},
		"inner link": {func(t *testing.T, _, dir string) {
			write(t, filepath.Join(dir, "v1", "bin"), 0o755)
			link(t, "v1/bin", filepath.Join(dir, name))
		}, "plugins/v1/bin", ""},
		"open subdir": {func(t *testing.T, _, dir string) {
			write(t, filepath.Join(dir, "v1", "bin"), 0o755)
			chmod(t, filepath.Join(dir, "v1"), 0o777)
			link(t, "v1/bin", filepath.Join(dir, name))
		}, "", "the directory"},
		"escape": {func(t *testing.T, top, dir string) {
			write(t, filepath.Join(top, "evil"), 0o755)
			link(t, "../evil", filepath.Join(dir, name))
		}, "", "leads out of the plugin directory"},
		"sibling name": {func(t *testing.T, top, dir string) {
			write(t, filepath.Join(top, "plugins2", "bin"), 0o755)
			link(t, "../plugins2/bin", filepath.Join(dir, name))
		}, "", "leads out of the plugin directory"},
		"broken link": {func(t *testing.T, _, dir string) { link(t, "nowhere", filepath.Join(dir, name)) }, "", "put its binary"},
	} {
		t.Run(title, func(t *testing.T) {
			top, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(top, "plugins")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, top, dir)
			alias := filepath.Join(top, "alias") // the directory itself may be a link
			link(t, "plugins", alias)
			got, err := Find(alias, "x")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), `"x"`) {
					t.Errorf("got %q, %v; want an error that says %q", got, err, c.err)
				}
				return
			}
			if want := filepath.Join(top, c.want); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestFindIgnoresPathAndOddTypes(t *testing.T) {
	t.Setenv("PATH", plugins.dir)
	if got, err := Find(t.TempDir(), "faulty"); err == nil {
		t.Errorf("found %s, which is on PATH only", got)
	}
	for _, typ := range []string{"", "../x", "a/b", "X", "a--b", "a-", "-a", "a b", "a\x00"} {
		if _, err := Find(plugins.dir, typ); err == nil || !strings.Contains(err.Error(), "is no plugin type") {
			t.Errorf("type %q: %v", typ, err)
		}
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{FileName("b"), FileName("a-c"), "keyrotor", FileName("UPPER"), filePrefix + "x.sha256"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, FileName("folder")), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := List(dir)
	if want := []string{"a-c", "b"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if _, err := List(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a missing directory is no error")
	}
}

func TestSocketDirSkipsLongPaths(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 80))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := makeSocketDir(long, "/tmp")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if info, err := os.Stat(dir); err != nil || filepath.Dir(dir) != "/tmp" || info.Mode().Perm() != 0o700 {
		t.Errorf("made %s, mode %v, %v; want mode 0700 in /tmp", dir, info.Mode(), err)
	}
	if _, err := makeSocketDir(long); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(long); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestCheckSockets: what a start would meet is told before it, and nothing stays.
func TestCheckSockets(t *testing.T) {
	h := newHost(t, nil)
	if folder, err := h.CheckSockets(); err != nil || folder != h.sockets {
		t.Errorf("sockets go to %s, %v; want %s", folder, err, h.sockets)
	}
	if left, err := os.ReadDir(h.sockets); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.RemoveAll(h.sockets); err != nil {
		t.Fatal(err)
	}
	if folder, err := h.CheckSockets(); err == nil || !strings.Contains(err.Error(), "set TMPDIR to a short path") {
		t.Errorf("without the folder: %q, %v", folder, err)
	}
}

// TestSweepSocketDirs: only directories of ours that are old enough go.
func TestSweepSocketDirs(t *testing.T) {
	root, now := t.TempDir(), time.Now()
	for name, age := range map[string]time.Duration{
		"keyrotor-socket-1": 2 * staleAfter, "keyrotor-socket-2": staleAfter / 2, "keyrotor-demo.1": 2 * staleAfter,
	} {
		dir := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "plugin-dir1"), 0o700), os.Chtimes(dir, now.Add(-age), now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	sweepSocketDirs(now, root, filepath.Join(root, "nowhere"))
	left, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil || len(left) != 2 || filepath.Base(left[0]) != "keyrotor-demo.1" || filepath.Base(left[1]) != "keyrotor-socket-2" {
		t.Errorf("left: %v, %v", left, err)
	}
}
