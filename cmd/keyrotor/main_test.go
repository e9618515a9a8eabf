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

// TestMain builds the local plugin once. Tests run it as the process that it is for
// users, and this test binary as keyrotor unless they build that too.
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
	plugins := filepath.Join(dir, "plugins")
	if err := procs.BuildLocal(plugins); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for name, value := range map[string]string{
		pluginsVariable: plugins,
		// Under the race detector each process would sleep for a second at its end.
		"GORACE": "atexit_sleep_ms=0 " + os.Getenv("GORACE"),
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	return w.m.Run()
}

// TestScripts runs keyrotor as it is built for users, also under the race detector, which
// makes the start of a process several times slower.
func TestScripts(t *testing.T) {
	runScripts(t, "script", builtKeyrotor(t))
}

// builtKeyrotor answers the folder of a keyrotor that is no test binary.
func builtKeyrotor(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := procs.Build(filepath.Join(dir, "keyrotor"), "cmd/keyrotor"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runScripts runs those of a folder, with programs of another folder before all others.
func runScripts(t *testing.T, folder, programs string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", folder),
		Cmds:                commands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{pluginsVariable, "GORACE"} {
				env.Setenv(name, os.Getenv(name))
			}
			if programs != "" {
				env.Setenv("PATH", programs+string(os.PathListSeparator)+env.Getenv("PATH"))
			}
			return nil
		},
	})
}
