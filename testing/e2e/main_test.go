// Package e2e runs whole processes against each other: a host that is killed at
// any moment, real plugin processes, a real database.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// workerVariable tells this test binary, started again, to be the victim.
const workerVariable = "KEYROTOR_E2E_WORKER"

// pluginDir holds the plugins, built once for all tests.
var pluginDir string

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	if job := os.Getenv(moveVariable); job != "" {
		if err := moveWork(job); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	if job := os.Getenv(backupJobVariable); job != "" {
		if err := backupJob(job); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
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
	dir, err := os.MkdirTemp("", "keyrotor-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	pluginDir = filepath.Join(dir, "plugins")
	build := exec.Command("go", "build", "-o", filepath.Join(pluginDir, "keyrotor-plugin-local"), "../../plugins/local")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the local plugin: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// plugins lists the processes that run a plugin of this test run.
func plugins(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe")); err == nil && strings.HasPrefix(exe, pluginDir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// noPluginsWithin polls until no plugin runs, and answers how long that took.
func noPluginsWithin(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		pids := plugins(t)
		if len(pids) == 0 {
			return time.Since(start)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("plugin processes %v outlived their host by %s", pids, limit)
		case <-tick.C:
		}
	}
}
