//go:build unix

package sdk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// debugged is a plugin that an author runs by hand.
type debugged struct {
	cmd        *exec.Cmd
	attachment wire.Attachment
	stderr     *bytes.Buffer // complete once the process has ended
}

func startDebugged(t *testing.T, flag string) *debugged {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &debugged{cmd: exec.Command(exe, flag), stderr: &bytes.Buffer{}}
	d.cmd.Env = append(os.Environ(), servesTestPlugin+"=1", "TMPDIR="+shortTempDir(t))
	d.cmd.Stderr = d.stderr
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var plugins map[string]wire.Attachment
	if err := json.Unmarshal([]byte(line), &plugins); err != nil {
		t.Fatalf("it printed %q: %v", line, err)
	}
	d.attachment = plugins["process-test"]
	return d
}

// client connects as a host does that attaches.
func (d *debugged) client(t *testing.T) *wire.Client {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+d.attachment.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return wire.NewClient(conn)
}

func TestDebug(t *testing.T) {
	for _, c := range []struct {
		flag   string
		signal syscall.Signal
	}{{"-debug", syscall.SIGINT}, {"--debug", syscall.SIGTERM}} {
		t.Run(c.flag, func(t *testing.T) {
			d := startDebugged(t, c.flag)
			want := wire.Attachment{
				Protocol: "grpc", ProtocolVersion: 1, PID: d.cmd.Process.Pid, Network: "unix", Address: d.attachment.Address,
			}
			if d.attachment != want {
				t.Errorf("it prints %+v, want %+v", d.attachment, want)
			}
			dir := filepath.Dir(d.attachment.Address)
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the socket's directory: %v, %v", info.Mode(), err)
			}
			client := d.client(t)
			info, err := client.Info(t.Context())
			if err != nil || info.Name != "process-test" || info.ProtocolMinor != provider.ProtocolMinor {
				t.Errorf("info is %+v, %v", info, err)
			}
			if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
				t.Fatal(err)
			}
			if err := d.cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if err := d.cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			for _, want := range []string{closedText, "Serving process-test until Ctrl-C, unverified and without TLS", "export KEYROTOR_REATTACH_PLUGINS="} {
				if !strings.Contains(d.stderr.String(), want) {
					t.Errorf("its stderr lacks %q:\n%s", want, d.stderr)
				}
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the socket's directory is left behind: %v", err)
			}
		})
	}
}

// TestDebugOfAnIncompletePlugin: an author who forgot something is told so.
func TestDebugOfAnIncompletePlugin(t *testing.T) {
	var stdout, stderr bytes.Buffer
	noEnv := func(string) string { return "" }
	if status, done := answerPerson(Plugin{New: noManager}, []string{"-debug"}, noEnv, &stdout, &stderr); status != 1 || !done {
		t.Errorf("without a name: %d, %v", status, done)
	}
	complete := Plugin{Info: provider.Info{Name: "x"}, New: noManager}
	if status, done := answerPerson(complete, []string{"-debug"}, noEnv, &stdout, &stderr); status != 0 || done {
		t.Errorf("complete: %d, %v", status, done)
	}
	if status, done := answerPerson(complete, []string{"-debug", "more"}, noEnv, &stdout, &stderr); status != 1 || !done {
		t.Errorf("with another argument: %d, %v", status, done)
	}
}
