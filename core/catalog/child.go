package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// child is the operating system's side of one plugin process. It implements
// go-plugin's runner.Runner, in place of the one that go-plugin makes for a Cmd,
// which gives the plugin the host's standard input: `keyrotor encrypt` reads
// plaintexts there. Ours has none. It also kills the plugin's children with it,
// and notices the end of the process even while one of them keeps a pipe open.
type child struct {
	typ, path, hash string
	env             []string

	mu             sync.Mutex
	cmd            *exec.Cmd
	killed         bool
	stdout, stderr *os.File
	lifeline       *os.File

	attached int // the id of a process that somebody else started, instead of cmd

	exited chan struct{} // closed once the rest is set
	state  string        // e.g. "signal: killed"
	ended  time.Time
}

func newChild(typ, path, hash string, env []string) *child {
	return &child{typ: typ, path: path, hash: hash, env: env, exited: make(chan struct{})}
}

// newAttached is a process that somebody else started. Nothing here ends it.
func newAttached(typ string, pid int) *child {
	c := newChild(typ, "", "", nil)
	c.attached = pid
	return c
}

// lost ends an attached process for us, whatever became of it.
func (c *child) lost(state string) {
	c.state, c.ended = state, time.Now()
	close(c.exited)
}

// Start checks the hash and executes the file. As with go-plugin's own check,
// whoever may write to the file can change it between the two steps: the hash
// guards against a wrong or replaced binary, the permissions that [Find] demands
// against somebody who waits for that moment.
func (c *child) Start(ctx context.Context) (err error) {
	actual, err := hashFile(c.path)
	if err != nil {
		return err
	}
	if actual != c.hash {
		return &MismatchError{Type: c.typ, Path: c.path, Expected: c.hash, Actual: actual}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.killed {
		return errors.New("the start was called off")
	}
	defer func() {
		if err != nil {
			c.closePipes()
		}
	}()
	stdout, stderr, lifeline, err := c.openPipes()
	defer closeAll(stdout, stderr, lifeline) // the plugin has its own copies by then
	if err != nil {
		return fmt.Errorf("plugin %q: %w", c.typ, err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.path) // ctx ends with the start
	cmd.Env = c.env
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = ownGroup()
	passLifeline(cmd, lifeline)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("plugin %q: %w", c.typ, err)
	}
	c.cmd = cmd
	go c.reap()
	return nil
}

// openPipes makes the three pipes and answers the plugin's ends. Those that were
// opened before an error are there to be closed.
func (c *child) openPipes() (stdout, stderr, lifeline *os.File, err error) {
	if c.stdout, stdout, err = os.Pipe(); err != nil {
		return
	}
	if c.stderr, stderr, err = os.Pipe(); err != nil {
		return
	}
	lifeline, c.lifeline, err = os.Pipe()
	return
}

func (c *child) reap() {
	_ = c.cmd.Wait() // the state says it all
	// The children that the plugin left behind keep the group alive, and with it
	// its number from being reused. If there are none, the number became free this
	// instant, and the kernel hands numbers out in turn.
	killGroup(c.cmd.Process)
	c.state, c.ended = c.cmd.ProcessState.String(), time.Now()
	close(c.exited)
}

// Wait is called by go-plugin once both streams have ended.
func (c *child) Wait(context.Context) error {
	<-c.exited
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closePipes()
	return nil
}

// Kill ends the process and its children, or keeps it from starting.
func (c *child) Kill(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = true
	if c.cmd != nil && !c.hasExited() {
		killGroup(c.cmd.Process)
	}
	return nil
}

// cutOff closes the host's end of the streams, which a process that escaped from
// the group may keep open.
func (c *child) cutOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closePipes()
}

func (c *child) closePipes() {
	closeAll(c.stdout, c.stderr, c.lifeline)
}

func (c *child) hasExited() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// endedByItself tells the end of a process that exited from one that Kill brought.
func (c *child) endedByItself() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.killed || c.state != "signal: killed"
}

func (c *child) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return c.attached
	}
	return c.cmd.Process.Pid
}

// ID is empty until the process runs; go-plugin then has nothing to kill.
func (c *child) ID() string {
	if pid := c.pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

func (c *child) Name() string          { return c.path }
func (c *child) Stdout() io.ReadCloser { return c.stdout }
func (c *child) Stderr() io.ReadCloser { return c.stderr }

// Diagnose adds nothing: the launch error says what the plugin printed.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost and HostToPlugin translate addresses between machines; host and
// plugin share one.
func (c *child) PluginToHost(network, addr string) (string, string, error) { return network, addr, nil }

func (c *child) HostToPlugin(network, addr string) (string, string, error) { return network, addr, nil }

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // a second close fails, and means nothing
		}
	}
}

// hashFile answers the SHA-256 of a file as plugins.lock writes it.
func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
