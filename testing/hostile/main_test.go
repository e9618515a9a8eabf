// Package hostile runs the whole of Keyrotor, from a config file to a rotation, on a
// plugin that does not keep its promises: it lies, crashes, hangs, floods, or is not
// what it was. Whatever it does, the primary stays what it was, no other key becomes
// one, what was encrypted stays readable as far as the fault allows, the error says
// which plugin promised what and did what, and when the fault is over, so is its
// effect.
package hostile

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// built is where the faulty plugin lies, and the lock that pins it.
var built string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if built, err = os.MkdirTemp("", "keyrotor-hostile-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(built)
	if err := procs.Build(filepath.Join(built, catalog.FileName("faulty")), "testing/hostile/plugin"); err != nil {
		return 1, err
	}
	lock := catalog.NewLock()
	ctx, cancel := contextForMain()
	defer cancel()
	if err := lock.Pin(ctx, built, slog.New(slog.DiscardHandler), "faulty"); err != nil {
		return 1, err
	}
	if err := lock.Write(filepath.Join(built, "plugins.lock")); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, goleak.Find()
}
