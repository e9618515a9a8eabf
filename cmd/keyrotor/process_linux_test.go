package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// children lists the processes that a process has started and that still run.
func children(t *testing.T, pid int) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if fields[1] == fmt.Sprint(pid) && fields[0] != "Z" {
			found = append(found, filepath.Dir(path))
		}
	}
	return found
}

// TestSignals: a command that a signal stops says so, completes its answer, and
// leaves no plugin behind. Meanwhile nobody can have a core file of it.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		flags  []string
		status int
		stderr string
	}{
		{syscall.SIGINT, nil, 130, "keyrotor: stopped by signal: interrupt\n"},
		{syscall.SIGTERM, nil, 143, "keyrotor: stopped by signal: terminated\n"},
		{
			syscall.SIGTERM,
			[]string{"-o", "json"},
			143,
			`{"error":{"code":"interrupted","message":"stopped by signal: terminated","exit_code":143}}` + "\n",
		},
	} {
		t.Run(strings.Join(append([]string{c.signal.String()}, c.flags...), " "), func(t *testing.T) {
			cmd := keyrotor(t, t.TempDir(), append([]string{"encrypt", "payments", "--lines"}, c.flags...)...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(stdin, "one\n"); err != nil {
				t.Fatal(err)
			}
			// The first token is out while the input is still open.
			out := bufio.NewReader(stdout)
			if _, err := out.Peek(len(`{"ciphertexts":["keyrotor:payments:v1:`)); err != nil {
				t.Fatal(err)
			}
			plugins := children(t, cmd.Process.Pid)
			if len(plugins) != 1 {
				t.Fatalf("processes below keyrotor: %q, want the plugin", plugins)
			}
			if limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid)); err != nil || !strings.Contains(string(limits), "\nMax core file size        0                    0 ") {
				t.Errorf("core files are not limited: %v\n%s", err, limits)
			}
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(out)
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != c.status {
				t.Errorf("%v, want exit status %d", err, c.status)
			}
			if stderr.String() != c.stderr {
				t.Errorf("stderr is %q, want %q", stderr.String(), c.stderr)
			}
			if len(c.flags) > 0 && !json.Valid(answer) || !strings.HasSuffix(string(answer), "\n") {
				t.Errorf("the answer is not whole: %q", answer)
			}
			deadline := time.Now().Add(10 * time.Second)
			for _, dir := range plugins {
				for _, err := os.Stat(dir); err == nil; _, err = os.Stat(dir) {
					if time.Now().After(deadline) {
						t.Fatal("the plugin outlives keyrotor")
					}
				}
			}
		})
	}
}
