//go:build unix

package sdk

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// servesTestPlugin makes the test binary serve instead of test.
const servesTestPlugin = "KEYROTOR_SDK_SERVES_TEST_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(servesTestPlugin) != "" {
		Serve(Plugin{
			Info:   provider.Info{Name: "process-test", Version: "0.0.1"},
			Schema: provider.Schema{Attributes: []provider.Attribute{{Name: "hang", Type: provider.Bool}}},
			New: func(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
				return &processManager{hang: cfg.Body.Bool("hang")}, nil
			},
		})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// closedText is on the plugin's stderr once an instance was closed. A file would
// not do: a busy disk takes longer than a plugin without a host has.
const closedText = "the instance is closed"

// processManager says when it is closed, or hangs.
type processManager struct {
	provider.KeyManager
	hang bool
}

func (m *processManager) Close() error {
	if m.hang {
		select {}
	}
	_, err := syscall.Write(2, []byte(closedText+"\n")) // os.Stderr is go-plugin's by now
	return err
}

// pluginProcess is a plugin as a host runs it.
type pluginProcess struct {
	host     *plugin.Client
	client   *wire.Client
	lifeline io.Closer
	pid      int
	stderr   *bytes.Buffer // complete once the process has ended
}

func startProcess(t *testing.T) *pluginProcess {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.ExtraFiles = []*os.File{read}
	cmd.Env = []string{servesTestPlugin + "=1", wire.LifelineEnv + "=3", "PLUGIN_UNIX_SOCKET_DIR=" + shortTempDir(t)}
	stderr := &bytes.Buffer{}
	host := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          plugin.PluginSet{wire.PluginName: &wire.Plugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              cmd, AutoMTLS: true, SkipHostEnv: true, Logger: hclog.NewNullLogger(), Stderr: stderr,
	})
	t.Cleanup(func() {
		host.Kill()
		_ = write.Close()
	})
	connection, err := host.Client()
	if err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	dispensed, err := connection.Dispense(wire.PluginName)
	if err != nil {
		t.Fatal(err)
	}
	return &pluginProcess{host: host, client: dispensed.(*wire.Client), lifeline: write, pid: host.ReattachConfig().Pid, stderr: stderr}
}

// shortTempDir is for a socket, whose path may have 107 bytes at most.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (p *pluginProcess) configure(t *testing.T, hang bool) {
	t.Helper()
	body := provider.Body{Attributes: map[string]any{"hang": hang}}
	if err := p.client.Configure(t.Context(), "one", body); err != nil {
		t.Fatal(err)
	}
}

func (p *pluginProcess) closedInstance() bool {
	return strings.Contains(p.stderr.String(), closedText)
}

// waitForEnd polls until the process is gone; a plugin that stays is an orphan.
func (p *pluginProcess) waitForEnd(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !p.host.Exited(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the plugin outlives its host")
		}
	}
}

func TestThePluginIgnoresSignalsToItsGroup(t *testing.T) {
	p := startProcess(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := syscall.Kill(p.pid, signal); err != nil {
			t.Fatal(err)
		}
		info, err := p.client.Info(t.Context())
		if err != nil {
			t.Fatalf("after %v: %v", signal, err)
		}
		if info.Name != "process-test" || info.ProtocolMinor != provider.ProtocolMinor {
			t.Errorf("info is %+v", info)
		}
	}
}

func TestThePluginEndsWithItsHost(t *testing.T) {
	for name, hang := range map[string]bool{"closing its instances": false, "even if an instance hangs": true} {
		t.Run(name, func(t *testing.T) {
			p := startProcess(t)
			p.configure(t, hang)
			if err := p.lifeline.Close(); err != nil {
				t.Fatal(err)
			}
			p.waitForEnd(t)
			if p.closedInstance() == hang {
				t.Errorf("instance closed: %v; stderr: %s", hang, p.stderr)
			}
		})
	}
}

func TestThePluginClosesItsInstancesAtACleanEnd(t *testing.T) {
	p := startProcess(t)
	p.configure(t, false)
	p.host.Kill()
	if !p.closedInstance() {
		t.Errorf("the instance was not closed; stderr: %s", p.stderr)
	}
}
