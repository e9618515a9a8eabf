package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	// maxStderr is how much of what a command complains about is read, and shownStderr how
	// much of its first line is shown.
	maxStderr   = 4 << 10
	shownStderr = 200
	// exitTempFail is EX_TEMPFAIL of sysexits.h: not now.
	exitTempFail = 75
	// waitDelay is how long what a killed command left behind may keep its pipes open.
	waitDelay = time.Second
)

// The variables that tell a command what it is about without its reading standard input.
const (
	envType = "KEYROTOR_NOTICE_TYPE"
	envID   = "KEYROTOR_NOTICE_ID"
)

// CommandConfig is what to run.
type CommandConfig struct {
	// Argv is the program, by its absolute path, and its arguments. There is no shell.
	Argv []string
	// Environment names variables of this process that the command gets besides PATH,
	// HOME and LANG.
	Environment []string
}

// command runs a program for each message.
type command struct{ CommandConfig }

// NewCommand makes a sender that runs a program for each message, with the CloudEvent on
// standard input, in the folder "/", and with KEYROTOR_NOTICE_TYPE and KEYROTOR_NOTICE_ID
// in an environment that has little else. Exit status 0 is delivered. 75 (EX_TEMPFAIL), a
// program that cannot be started and one that does not end in time are about the target;
// any other end is about the message. What runs too long is killed, with what it started.
func NewCommand(c CommandConfig) (Sender, error) {
	if len(c.Argv) == 0 || !filepath.IsAbs(c.Argv[0]) {
		return nil, errors.New("a command needs the absolute path of its program")
	}
	for _, name := range c.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("command %s: %q is no name of a variable: list names, without values", c.Argv[0], name)
		}
		if name == envType || name == envID {
			return nil, fmt.Errorf("command %s: %s is set for each notice: leave it out", c.Argv[0], name)
		}
	}
	for _, arg := range c.Argv {
		if strings.ContainsRune(arg, 0) {
			return nil, fmt.Errorf("command %s: an argument has a zero byte", c.Argv[0])
		}
	}
	return &command{CommandConfig{slices.Clone(c.Argv), slices.Clone(c.Environment)}}, nil
}

// Send runs the program once.
func (c *command) Send(ctx context.Context, m Message) error {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = c.environment(m)
	cmd.Dir = string(filepath.Separator)
	cmd.Stdin = bytes.NewReader(m.Body)
	stderr := &head{limit: maxStderr}
	cmd.Stderr = stderr
	cmd.WaitDelay = waitDelay
	ownGroup(cmd)
	err := cmd.Run()
	if err == nil || ctx.Err() == nil && errors.Is(err, exec.ErrWaitDelay) {
		return nil // the latter: its exit status was 0, and what it left behind runs on
	}
	text := fmt.Sprintf("command %s", c.Argv[0])
	if line := firstLine(stderr.b); line != "" {
		text += ": it says " + line
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if ctx.Err() == nil && ok && exit.ExitCode() != exitTempFail {
		return fmt.Errorf("%s: %w: %w", text, err, ErrRefused)
	}
	return fmt.Errorf("%s: %w", text, err)
}

func (c *command) environment(m Message) []string {
	env := []string{envType + "=" + string(m.Notice.Type), envID + "=" + m.ID}
	for _, name := range append([]string{"PATH", "HOME", "LANG"}, c.Environment...) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// firstLine is the first line of what a command wrote, as far as it can be shown.
func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, ""))
	if len(line) > shownStderr {
		line = strings.ToValidUTF8(line[:shownStderr], "") + "…"
	}
	return line
}

// head keeps the beginning of what is written to it.
type head struct {
	b     []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), h.limit-len(h.b))]...)
	return len(p), nil
}
