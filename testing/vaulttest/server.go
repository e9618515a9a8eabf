// Package vaulttest runs a real Vault server (testing/vaultserver) for tests, so
// that what they find out is what Vault does, and not what somebody once thought it
// does. The server is a process of its own, which a test can seal, stop and kill.
// What a test gets from it (mounts, keys, tokens, logins) is the test's alone, so the
// tests of a package share one server. Errors on the way, latency and lost answers are
// made by testing/faultproxy in front of it.
//
// Tests that start a server carry the build tag "vault" and need what scripts/vault builds.
package vaulttest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// Variables that name a running server, to be used by Share instead of one of its
// own. Its token needs all rights.
const (
	AddrVariable  = "KEYROTOR_TEST_VAULT_ADDR"
	TokenVariable = "KEYROTOR_TEST_VAULT_TOKEN"
	CAVariable    = "KEYROTOR_TEST_VAULT_CA" // a file, if the address needs one
)

// Server is a Vault server that was unsealed when it started.
type Server struct {
	Addr           string `json:"http"`  // without TLS
	TLSAddr        string `json:"https"` // the same server with TLS
	CAFile         string `json:"ca"`    // what to trust there
	ClientCertFile string `json:"client_cert"`
	ClientKeyFile  string `json:"client_key"`
	AuditLog       string `json:"audit_log"`
	RootToken      string `json:"root_token"`
	UnsealKey      string `json:"unseal_key"`

	dir     string
	process *process // nil of a server that is not ours, and of one that is stopped
}

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // the server ends with it, and removes what it stored
}

// Start starts a server for one test, which ends with it.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Share answers the running server that the environment names, or starts one, for
// all tests of a package. TestMain calls it, and Close at the end; a server that
// was started also ends with the process that did it.
func Share() (*Server, error) {
	addr := os.Getenv(AddrVariable)
	if addr == "" {
		return start()
	}
	s := &Server{Addr: addr, RootToken: os.Getenv(TokenVariable), CAFile: os.Getenv(CAVariable)}
	if s.RootToken == "" {
		return nil, fmt.Errorf("%s is set and %s is not: set it to a token with all rights", AddrVariable, TokenVariable)
	}
	if strings.HasPrefix(addr, "https:") {
		s.TLSAddr = addr
	}
	return s, nil
}

func start() (_ *Server, err error) {
	s := &Server{}
	if s.dir, err = os.MkdirTemp("", "keyrotor-vault-"); err != nil {
		return nil, err
	}
	if err := s.run(); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	return s, nil
}

// Close stops the server and removes what it stored. Of a server that was not
// started here it does nothing.
func (s *Server) Close() {
	if s.dir == "" {
		return
	}
	s.end(func(p *process) { p.stdin.Close() })
	os.RemoveAll(s.dir) // of a server that was stopped before
}

// run starts the process, at the addresses that it had before.
func (s *Server) run(args ...string) error {
	binary, err := find()
	if err != nil {
		return err
	}
	args = append(args, "-dir", s.dir, "-remove")
	for flag, addr := range map[string]string{"-http": s.Addr, "-https": s.TLSAddr} {
		if u, err := url.Parse(addr); err == nil && u.Host != "" {
			args = append(args, flag, u.Host)
		}
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = environment()
	// A file, and not a pipe: no goroutine of the test has to read it.
	logs, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logs.Close()
	cmd.Stderr = logs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.process = &process{cmd: cmd, stdin: stdin}
	// A start takes a second; one that hangs must not hang the test.
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	watchdog.Stop()
	if err == nil {
		err = json.Unmarshal(line, s)
	}
	if err != nil {
		s.end(func(p *process) { _ = p.cmd.Process.Kill() })
		said, _ := os.ReadFile(s.log())
		return fmt.Errorf("the Vault server did not start: %w\n%s", err, said)
	}
	return nil
}

func (s *Server) log() string { return filepath.Join(s.dir, "server.log") }

// environment is the server's: it is not the one under test in FIPS 140 mode, and
// Vault's own variables would configure it.
func environment() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GODEBUG=") && !strings.HasPrefix(v, "VAULT_") {
			env = append(env, v)
		}
	}
	return env
}

// find asks scripts/vault where the server is.
func find() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		script := filepath.Join(dir, "scripts", "vault")
		if _, err := os.Stat(script); err == nil {
			out, err := exec.Command(script, "--path").Output()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				return "", fmt.Errorf("%s", strings.TrimSpace(string(exit.Stderr)))
			}
			return strings.TrimSpace(string(out)), err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("scripts/vault not found: the test does not run within the repository")
		}
		dir = parent
	}
}

// end ends the process in some way, and waits for it.
func (s *Server) end(how func(*process)) {
	p := s.process
	if p == nil {
		return
	}
	s.process = nil
	how(p)
	watchdog := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer watchdog.Stop()
	_ = p.cmd.Wait() // how it ended is the test's doing
}

// own fails the test of a server that was not started here.
func (s *Server) own(t testing.TB, what string) {
	t.Helper()
	if s.dir == "" {
		t.Fatalf("%s needs a server of the test's own: unset %s", what, AddrVariable)
	}
}

// Client is one with all rights. Its requests are not repeated after errors.
func (s *Server) Client(t testing.TB) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	if config.Error != nil {
		t.Fatal(config.Error)
	}
	config.Address, config.AgentAddress, config.MaxRetries = s.Addr, "", 0
	if s.Addr == s.TLSAddr {
		if err := config.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(config.HttpClient.CloseIdleConnections)
	client.SetToken(s.RootToken)
	client.ClearNamespace()
	return client
}

// Seal seals the server, which goes on running and answers 503.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	s.own(t, "Seal")
	if err := s.Client(t).Sys().SealWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Unseal unseals it again.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	s.own(t, "Unseal")
	status, err := s.Client(t).Sys().UnsealWithContext(t.Context(), s.UnsealKey)
	if err != nil {
		t.Fatal(err)
	}
	if status.Sealed {
		t.Fatal("the server is still sealed")
	}
}

// Stop ends the server in order. Connections to its addresses are refused.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.own(t, "Stop")
	s.end(func(p *process) { _ = p.cmd.Process.Signal(syscall.SIGTERM) })
}

// Kill ends it at once.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.own(t, "Kill")
	s.end(func(p *process) { _ = p.cmd.Process.Kill() })
}

// Restart stops the server, if it runs, and starts it at the same addresses with
// what it had stored, unsealed.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.restart(t)
}

// RestartSealed is Restart with a server that nobody has unsealed yet.
func (s *Server) RestartSealed(t testing.TB) {
	t.Helper()
	s.restart(t, "-sealed")
}

func (s *Server) restart(t testing.TB, args ...string) {
	t.Helper()
	s.Stop(t)
	s.waitForPorts(t)
	if err := s.run(args...); err != nil {
		t.Fatal(err)
	}
}

// waitForPorts waits until nothing is in the way of listening where the server did: a
// connection of another process may have got the port for a moment.
func (s *Server) waitForPorts(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, addr := range []string{s.Addr, s.TLSAddr} {
		u, err := url.Parse(addr)
		if err != nil {
			t.Fatal(err)
		}
		for {
			l, err := net.Listen("tcp", u.Host)
			if err == nil {
				_ = l.Close() // it was only to see that this can be done
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
