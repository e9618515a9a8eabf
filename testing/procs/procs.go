// Package procs starts a test binary again as further processes, which may be
// killed at any moment, and finds the plugins that they run or leave behind.
package procs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// Build builds a program of this module; pkg is its folder in the module. Many packages'
// tests want the same few programs, and linking takes seconds, so what was linked stays
// in the user's cache, where go build sees for itself whether it is up to date.
func Build(file, pkg string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cached := filepath.Join(cache, "keyrotor", "programs", strings.ReplaceAll(pkg, "/", "-"))
	if err := errors.Join(os.MkdirAll(filepath.Dir(cached), 0o700), os.MkdirAll(filepath.Dir(file), 0o755)); err != nil {
		return err
	}
	unlock, err := lockedfile.MutexAt(cached + ".lock").Lock()
	if err != nil {
		return err
	}
	defer unlock()
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", cached, "github.com/keyrotor/keyrotor/"+pkg)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	// A copy, with which a test may do as it likes. Another process writes it: a child that
	// a test starts meanwhile would inherit the open file, and what is open for writing
	// cannot be run.
	if out, err := exec.Command("cp", cached, file).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// BuildLocal builds the local plugin into a plugin directory.
func BuildLocal(dir string) error {
	return Build(filepath.Join(dir, "keyrotor-plugin-local"), "plugins/local")
}

// How processes end.
const (
	Killed    = "signal: killed"
	Succeeded = "exit status 0"
	Failed    = "exit status 1"
)

// Child is this test binary, started again. Its standard input ends when it is
// told to stop, or with the process that started it.
type Child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr output
	lines  chan string   // for Next
	ended  chan struct{} // closed once the rest is set
	state  string
}

// Start starts a child with variables added to the environment. hear gets each
// line of its standard output, one after the other; if it is nil, the lines are for
// Next, and the child has to wait when nobody asks for them. What a kill cut off has
// no newline and is no line. The child does not outlive the test.
func Start(t testing.TB, hear func(line string), env ...string) *Child {
	t.Helper()
	c := &Child{cmd: exec.Command(os.Args[0]), lines: make(chan string), ended: make(chan struct{})}
	if hear == nil {
		hear = func(line string) { c.lines <- line }
	}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = &c.stderr
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go c.follow(stdout, hear)
	t.Cleanup(func() {
		c.Kill()
		c.Wait()
	})
	return c
}

// follow reads to the end, and waits for it.
func (c *Child) follow(stdout io.Reader, hear func(line string)) {
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		hear(strings.TrimSuffix(line, "\n"))
	}
	_ = c.cmd.Wait() // the state says it all
	c.state = c.cmd.ProcessState.String()
	close(c.lines)
	close(c.ended)
}

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Next answers the child's next line, and false at its end.
func (c *Child) Next() (line string, ok bool) {
	line, ok = <-c.lines
	return line, ok
}

// Say writes a line to the child's standard input. A child that has ended does
// not hear it.
func (c *Child) Say(line string) { _, _ = io.WriteString(c.stdin, line+"\n") }

// Stop ends the child's standard input, which asks it to end.
func (c *Child) Stop() { _ = c.stdin.Close() }

// Kill sends SIGKILL, unless the child has ended.
func (c *Child) Kill() { _ = c.cmd.Process.Kill() }

// Ended is closed when the child has ended and its last line was heard.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Wait waits for the end and answers how it came, such as Killed or Succeeded, and
// what the child wrote to standard error. Lines that nobody asked for are dropped.
func (c *Child) Wait() (state, stderr string) {
	for range c.lines {
	}
	<-c.ended
	return c.state, c.Stderr()
}

// Stderr is what the child wrote to standard error so far.
func (c *Child) Stderr() string { return c.stderr.String() }

// output may be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
