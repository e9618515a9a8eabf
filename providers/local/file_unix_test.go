//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keyrotor/keyrotor/core/provider"
)

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("no owner in %T", info.Sys())
	}
	return int(stat.Uid)
}

// Opening a pipe must not wait for somebody to write into it.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, path, "").DescribeKey(t.Context())
	wantError(t, err, provider.InvalidConfig, ErrNotRegular, "path")
	_, err = passphrase{file: path}.read()
	wantError(t, err, provider.InvalidConfig, nil, attrPassphraseFile)
}

// A lock on a file that has lost its name locks nobody out.
func TestRemovedLockFile(t *testing.T) {
	m := create(t, "")
	unlock, err := m.file.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	lock := m.file.path + ".lock"
	if _, err := tryLock(lock, nil); !errors.Is(err, errLocked) {
		t.Fatalf("got %v, want errLocked", err)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	f, err := tryLock(lock, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := tryLock(lock, nil); !errors.Is(err, errLocked) {
		t.Errorf("got %v, want errLocked", err)
	}
}

func TestReplaceKeepsModeAndOwner(t *testing.T) {
	m := create(t, "")
	uid := os.Getuid()
	if uid == 0 {
		uid = 12345 // root rotates the KEK of a service
	}
	if err := os.Chmod(m.file.path, 0o400); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{m.file.path, m.file.path + ".lock"} {
		if err := os.Chown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(m.file.path + ".lock"); err != nil {
		t.Fatal(err)
	}
	rotate(t, m, "1")
	info, err := os.Lstat(m.file.path)
	if err != nil || info.Mode() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, path := range []string{m.file.path, m.file.path + ".lock"} {
		if got := ownerOf(t, path); got != uid {
			t.Errorf("%s belongs to %d, not %d", path, got, uid)
		}
	}
}
