// Package disk makes the disk under a store fail for real: full at each write in
// turn, read-only, or with bytes that are not those that were written.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// vault is the store of a test, and the key manager that goes with it. It is opened
// anew for each thing that is done, as by a process that comes and goes.
type vault struct {
	path string
	km   *faults.KeyManager
}

// at answers the same vault with another file as its store.
func (v vault) at(path string) vault { return vault{path: path, km: v.km} }

func newVault(t *testing.T) vault {
	t.Helper()
	return vault{path: filepath.Join(folder(t), "keyrotor.db"), km: faults.NewLocal(t)}
}

// memory is a file system on which nobody waits for the disk, where there is one.
const memory = "/dev/shm"

// folder makes one that goes with the test. The thousands of commits of these tests
// need no disk that outlives a power cut.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory, "keyrotor-disk-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// with opens the store for the time of a call. Whatever fails, all of it is in the
// error.
func (v vault) with(ctx context.Context, f func(*engine.Engine) error) (err error) {
	s, err := sqlite.Open(ctx, sqlite.Config{Path: v.path})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	e, err := engine.New(engine.Config{
		Store: s, Actor: "test@disk",
		KeyManager: func(name string) (wrapping.KeyManager, error) {
			if name != "local" {
				return nil, fmt.Errorf("no provider %q", name)
			}
			return v.km, nil
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	return f(e)
}

func (v vault) createKey(ctx context.Context, name string) error {
	return v.with(ctx, func(e *engine.Engine) error {
		_, err := e.CreateKey(ctx, name, keyring.Settings{Algorithm: keyring.AES256GCM, WrapWith: []string{"local"}}, "")
		return err
	})
}

func (v vault) rotate(ctx context.Context, name string) error {
	return v.with(ctx, func(e *engine.Engine) error {
		_, err := e.Rotate(ctx, name, keyring.ReasonManual, "")
		return err
	})
}

func (v vault) encrypt(ctx context.Context, name, value string) (token string, err error) {
	err = v.with(ctx, func(e *engine.Engine) error {
		answer, err := e.Encrypt(ctx, name, []byte(value), nil)
		token = string(answer)
		return err
	})
	return token, err
}
