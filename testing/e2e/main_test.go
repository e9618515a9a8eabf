// Package e2e runs whole processes against each other: hosts and plugins that are
// killed at any moment, a real database.
//
// Each tier of tests (testing/tier) has its share of every test run. The long form is
//
//	go test -tags exhaustive ./testing/e2e -run Kills -v -timeout 1h -kills 1000 -plugin-kills 200
//	go test -tags exhaustive ./testing/e2e -run Usage -v -usage-time 1m
//	go test -tags exhaustive ./testing/e2e -run Year -v -timeout 1h -year-days 365 -year-kills 50
package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/procs"
	"github.com/keyrotor/keyrotor/testing/tier"
)

var (
	kills       = flag.Int("kills", 60, "how many hosts TestHostKills kills")
	pluginKills = flag.Int("plugin-kills", 12, "how many plugins TestPluginKills kills")
	yearDays    = flag.Int("year-days", 14, "how many days pass in TestYear")
	yearKills   = flag.Int("year-kills", 3, "how many processes TestYear kills")
	usageTime   = flag.Duration("usage-time", tier.Pick(time.Second, 2*time.Second), "how long TestUsage uses a key up, each time")
	seed        = flag.Uint64("seed", 20261123, "what is random is drawn from this")
)

// pluginDir holds the plugins, built once for all tests.
var pluginDir string

func TestMain(m *testing.M) {
	for variable, job := range map[string]func(string) error{
		workerVariable: work, moveVariable: moveWork, backupJobVariable: backupJob, yearVariable: yearWork, replicaVariable: replicate,
		usageVariable: useUp,
	} {
		if what := os.Getenv(variable); what != "" {
			if err := job(what); err != nil {
				fmt.Fprintln(os.Stderr, "worker:", err)
				os.Exit(1)
			}
			return
		}
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "keyrotor-e2e-")
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

// pluginLimit is how long a plugin may outlive its host, on a machine that is slow.
const pluginLimit = 5 * time.Second

// orphans polls until no plugin runs whose host is gone, and answers how many are
// left and how long after the host's end that was.
func orphans(t *testing.T, end time.Time) (left int, gone time.Duration) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		pids, err := procs.Orphans(pluginDir)
		if err != nil {
			t.Fatal(err)
		}
		if gone = time.Since(end); len(pids) == 0 {
			return 0, gone
		}
		if gone > pluginLimit {
			t.Errorf("PLUGINS: processes %v outlived their host by %s", pids, pluginLimit)
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return len(pids), gone
		}
		<-tick.C
	}
}
