//go:build unix

package catalog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// killedProcess starts a host with a plugin in a process of its own.
func killedProcess(t *testing.T) (host *os.Process, plugin int, tmp string) {
	t.Helper()
	tmp, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hostEnv+"="+plugins.dir, "TMPDIR="+tmp)
	cmd.Stderr = os.Stderr
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
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "plugin %d", &plugin); err != nil || !alive(plugin) {
		t.Fatalf("the host said %q", line)
	}
	return cmd.Process, plugin, tmp
}

// TestHostKilled holds the fastest of some kills to the bar: a busy machine can make
// any one of them late, but not all.
func TestHostKilled(t *testing.T) {
	const kills, bar = 5, 100 * time.Millisecond
	var took []time.Duration
	for range kills {
		host, pid, tmp := killedProcess(t)
		if err := host.Kill(); err != nil {
			t.Fatal(err)
		}
		took = append(took, waitGone(t, pid, 5*time.Second).Round(time.Microsecond))
		if left, _ := os.ReadDir(tmp); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		if slices.Min(took) <= bar {
			break
		}
	}
	t.Logf("after its host was killed, the plugin ended within %v", took)
	if slices.Min(took) > bar {
		t.Errorf("a plugin outlives its host by %v, never by less than %s", took, bar)
	}
}

// TestHostKilledWhileItsPluginIsStopped shows the limit of the lifeline: a
// stopped process sees nothing until it goes on, and then ends at once.
func TestHostKilledWhileItsPluginIsStopped(t *testing.T) {
	host, pid, _ := killedProcess(t)
	suspend(t, pid)
	if err := host.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Wait(); err != nil {
		t.Fatal(err)
	}
	// The kernel may have continued it already, see endWithHost in plugins/sdk.
	_ = syscall.Kill(pid, syscall.SIGCONT)
	waitGone(t, pid, 5*time.Second)
}
