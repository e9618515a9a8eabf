//go:build unix

package catalog

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waitGone waits until a process is gone and answers how long that took.
func waitGone(t testing.TB, pid int, within time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	for alive(pid) {
		if time.Since(begin) > within {
			t.Fatalf("process %d still runs after %s", pid, within)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	return syscall.Kill(pid, 0) == nil && processState(pid) != 'Z'
}

// processState is the letter that Linux has for it, or 0 where that is unknown.
func processState(pid int) byte {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return state[0]
}

// suspend stops a process and waits until it has stopped, which takes a moment.
func suspend(t testing.TB, pid int) {
	t.Helper()
	signalTo(t, pid, syscall.SIGSTOP)
	eventually(t, "the process stopped", func() bool { state := processState(pid); return state == 'T' || state == 0 })
}

func signalTo(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("signal %v to %d: %v", sig, pid, err)
	}
}
