package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

var errInjected = errors.New("injected")

func failing(string, string) error { return errInjected }

// A write that fails before it counts leaves the old file, and nothing else.
func TestFailedReplace(t *testing.T) {
	m := create(t, "")
	w := wrapOne(t, m, testRoot(), nil)
	before := readFile(t, m.file.path)
	m.file.rename = failing
	_, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "1"})
	wantError(t, err, provider.Unavailable, errInjected, "")
	if !bytes.Equal(readFile(t, m.file.path), before) {
		t.Error("the old file was changed")
	}
	wantNoTemp(t, m)
	if _, err := unwrapOne(t, m, w, nil); err != nil {
		t.Errorf("the instance does not work on: %v", err)
	}
	m.file.rename = os.Rename
	rotate(t, m, "1")
}

func TestFailedCreate(t *testing.T) {
	m := open(t, t.TempDir()+"/kek.json", "")
	m.file.link = failing
	_, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{})
	wantError(t, err, provider.Unavailable, errInjected, "")
	if _, err := os.Lstat(m.file.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	wantNoTemp(t, m)
}

func wantNoTemp(t *testing.T, m *manager) {
	t.Helper()
	if _, err := os.Lstat(m.file.path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
}

// crashChild is killed between writing the new file and giving it its name.
func crashChild(path string) error {
	m, err := openTest(path, testPassphrase)
	if err != nil {
		return err
	}
	m.file.rename = func(string, string) error {
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		if err := self.Kill(); err != nil {
			return err
		}
		select {} // the signal is on its way
	}
	_, err = m.RotateKey(rootContext(), provider.RotateKeyRequest{ExpectedVersion: "1"})
	return fmt.Errorf("still alive: %w", err)
}

func TestCrashBeforeRename(t *testing.T) {
	m := create(t, testPassphrase)
	before := readFile(t, m.file.path)
	cmd := startChild(t, "crash", m.file.path)
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v", err)
	}
	if !bytes.Equal(readFile(t, m.file.path), before) {
		t.Error("the old file was changed")
	}
	if c, _, _, err := decode(readFile(t, m.file.path+".tmp")); err != nil || c.Primary != 2 {
		t.Fatalf("the child did not get to the rename: %+v, %v", c, err)
	}
	if res := rotate(t, m, "1"); res.NewVersion != "2" {
		t.Errorf("got %+v", res)
	}
	wantNoTemp(t, m)
}

// A mode that is loosened while the file is in use is noticed at the next call.
func TestLoosenedPermissions(t *testing.T) {
	m := create(t, "")
	wrapOne(t, m, testRoot(), nil)
	if err := os.Chmod(m.file.path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := m.DescribeKey(t.Context())
	wantError(t, err, provider.InvalidConfig, ErrPermissions, "path")
	if m.opened != nil {
		t.Error("the keys are still in memory")
	}
}
