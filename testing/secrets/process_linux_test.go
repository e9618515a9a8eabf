package secrets_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/testing/procs"
)

// TestProcesses looks at the processes while they have the keys open: what a plugin
// has in its environment and its arguments, whether a crash would leave a core file,
// and what is on the disk meanwhile.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for key, with := range map[string]string{"legacy": "sealed", "orders": "cloud"} {
		s.run(command{args: []string{"key", "import", key, "--format", "raw", "--wrap-with", with}, stdin: string(s.planted[rawRoot])})
		s.duringEncryption(key, func(host int) {
			s.lookAtProcess(host)
			plugins := s.plugins(host)
			if len(plugins) != 1 {
				t.Fatalf("key %q: keyrotor runs the plugins %v, want one", key, plugins)
			}
			s.lookAtProcess(plugins[0])
			s.lookAtEnvironment(plugins[0])
			wal, err := os.Stat(s.path("keyrotor.db-wal"))
			if err != nil || wal.Size() == 0 {
				t.Errorf("nothing is in the write-ahead log: %v", err)
			}
			s.searchFiles()
		})
	}
	// The faulty plugin also says itself what it was given.
	s.text("provider", "check", "cloud")
	if given, err := os.ReadFile(s.path("journal/cloud.surroundings")); err != nil || !strings.Contains(string(given), "KEYROTOR_PLUGIN") {
		t.Errorf("it was given %s, %v", given, err)
	}
}

// duringEncryption calls f while a host has encrypted one value and waits for the next.
func (s *scene) duringEncryption(key string, f func(host int)) {
	s.t.Helper()
	cmd := s.command("encrypt", key, "--lines")
	var log strings.Builder
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	must(s.t, err)
	stdout, err := cmd.StdoutPipe()
	must(s.t, err)
	must(s.t, cmd.Start())
	_, err = fmt.Fprintf(stdin, "%s\n", s.planted[plaintext])
	must(s.t, err)
	out := bufio.NewReader(stdout)
	token, err := out.ReadString('\n')
	if !strings.HasPrefix(token, "keyrotor:"+key+":v1:") {
		s.t.Errorf("encrypted to %q, %v", token, err)
	}
	f(cmd.Process.Pid)
	must(s.t, stdin.Close())
	rest, err := io.ReadAll(out)
	must(s.t, errors.Join(err, cmd.Wait()))
	s.outputs = append(
		s.outputs, output{command: "encrypt", stream: "stdout", text: append([]byte(token), rest...)},
		output{command: "encrypt", stream: "stderr", text: []byte(log.String())},
	)
}

// plugins are those that a host runs.
func (s *scene) plugins(host int) (pids []int) {
	s.t.Helper()
	list, err := procs.Plugins(filepath.Join(built, "plugins"))
	must(s.t, err)
	for _, p := range list {
		if p.Parent == host {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

func (s *scene) lookAtProcess(pid int) {
	s.t.Helper()
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	must(s.t, err)
	s.look(fmt.Sprintf("arguments of %d", pid), arguments, "")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	must(s.t, err)
	if !slices.Contains(strings.Split(string(limits), "\n"), "Max core file size        0                    0                    bytes     ") {
		s.t.Errorf("process %q may leave a core file:\n%s", arguments, limits)
	}
}

// lookAtEnvironment looks at a plugin's. To users but root it is closed, since the
// process is not dumpable; then that is what is tested.
func (s *scene) lookAtEnvironment(pid int) {
	s.t.Helper()
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if errors.Is(err, fs.ErrPermission) && os.Getuid() != 0 {
		return
	}
	must(s.t, err)
	s.look(fmt.Sprintf("environment of %d", pid), environment, "")
	for variable := range strings.SplitSeq(string(environment), "\x00") {
		name, _, _ := strings.Cut(variable, "=")
		if s.planted[name] != nil {
			s.t.Errorf("the plugin has the variable %s", name)
		}
	}
	if !strings.Contains(string(environment), "PLUGIN_") {
		s.t.Errorf("no plugin's environment: %q", environment)
	}
}
