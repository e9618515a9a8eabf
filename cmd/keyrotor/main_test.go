package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyrotor/keyrotor/testing/procs"
)

// pluginsVariable tells the scripts where the plugins are.
const pluginsVariable = "PLUGINS"

// TestMain builds the local plugin once. The scripts run this test binary as
// keyrotor, and the plugin as the process that it is for users.
func TestMain(m *testing.M) {
	testscript.Main(withPlugin{m}, map[string]func(){"keyrotor": main})
}

type withPlugin struct{ m *testing.M }

func (w withPlugin) Run() int {
	dir, err := os.MkdirTemp("", "keyrotor-plugins-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := procs.BuildLocal(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for name, value := range map[string]string{
		pluginsVariable: dir,
		// Under the race detector each process would sleep for a second at its end.
		"GORACE": "atexit_sleep_ms=0 " + os.Getenv("GORACE"),
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	return w.m.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		Cmds:                commands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{pluginsVariable, "GORACE"} {
				env.Setenv(name, os.Getenv(name))
			}
			return nil
		},
	})
}
