//go:build unix

package catalog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
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

func TestHostKilled(t *testing.T) {
	host, pid, tmp := killedProcess(t)
	if err := host.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the plugin ended %s after its host was killed", waitGone(t, pid, 5*time.Second))
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
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
