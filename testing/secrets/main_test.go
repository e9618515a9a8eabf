package secrets_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// built holds the command line, and the plugins in a folder of their own.
var built string

func TestMain(m *testing.M) {
	code, err := withPrograms(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withPrograms(run func() int) (code int, err error) {
	if built, err = os.MkdirTemp("", "keyrotor-secrets-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(built)
	plugins := filepath.Join(built, "plugins")
	if err := errors.Join(
		os.Mkdir(plugins, 0o700),
		procs.Build(filepath.Join(built, "keyrotor"), "cmd/keyrotor"),
		procs.BuildLocal(plugins),
		procs.Build(filepath.Join(plugins, catalog.FileName("vault-transit")), "plugins/vault-transit"),
		procs.Build(filepath.Join(plugins, catalog.FileName("faulty")), "testing/hostile/plugin"),
	); err != nil {
		return 1, err
	}
	return run(), nil
}
