// Package model holds random sequences of operations, by several processes on one
// store, against a model that is simple enough to be believed: for each operation it
// says exactly what may come of it. It knows what the design promises and none of
// the code that keeps the promise.
//
// Each tier of tests (testing/tier) has its share of every test run. The long form is
//
//	go test -tags exhaustive ./testing/model -timeout 1h -rapid.checks 2000 -rounds 300
package model

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/testing/procs"
	"github.com/keyrotor/keyrotor/testing/tier"
)

var (
	rounds = flag.Int("rounds", tier.Pick(3, 8), "how many rounds of operations TestProcesses plays")
	seed   = flag.Uint64("seed", 20261123, "what TestProcesses draws is drawn from this")
)

// short is what rapid tries unless told otherwise; its own hundred sequences are for
// cheaper properties, and its thirty operations too few for some states.
var short = map[string]string{"rapid.checks": tier.Pick("5", "20"), "rapid.steps": "60"}

// pluginDir holds the plugins, built once for all tests.
var pluginDir string

func TestMain(m *testing.M) {
	if config := os.Getenv(processVariable); config != "" {
		if err := serve(config); err != nil {
			fmt.Fprintln(os.Stderr, "process:", err)
			os.Exit(1)
		}
		return
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range short {
		if !given[name] {
			if err := flag.Set(name, value); err != nil {
				return 1, err
			}
		}
	}
	dir, err := os.MkdirTemp("", "keyrotor-model-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	pluginDir = filepath.Join(dir, "plugins")
	if err := procs.BuildLocal(pluginDir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
