//go:build unix

package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/notify"
)

func command(t *testing.T, c notify.CommandConfig) notify.Sender {
	t.Helper()
	s, err := notify.NewCommand(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// script is an executable file.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCommand: the program gets its arguments as they are, the event, and an environment
// with nothing of ours in it.
func TestCommand(t *testing.T) {
	m := message(t)
	out := t.TempDir()
	t.Setenv("KEYROTOR_TEST_SECRET", "do not pass on")
	t.Setenv("PASSED_ON", "yes")
	path := script(t, `cat > "$1/stdin"; env > "$1/env"; pwd > "$1/pwd"; printf '%s' "$2" > "$1/arg"`)
	arg := "$(id); `id` 'x' \"y\" *"
	s := command(t, notify.CommandConfig{Argv: []string{path, out, arg}, Environment: []string{"PASSED_ON", "NOT_SET"}})
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read("stdin"); got != string(m.Body) {
		t.Errorf("standard input %s, want %s", got, m.Body)
	}
	if got := read("pwd"); got != "/\n" {
		t.Errorf("working directory %q", got)
	}
	if got := read("arg"); got != arg {
		t.Errorf("argument %q, want %q", got, arg)
	}
	env := strings.Split(strings.TrimSpace(read("env")), "\n")
	for _, want := range []string{"KEYROTOR_NOTICE_TYPE=version_state_changed", "KEYROTOR_NOTICE_ID=" + m.ID, "PASSED_ON=yes", "PATH=" + os.Getenv("PATH")} {
		if !slices.Contains(env, want) {
			t.Errorf("environment %q has no %q", env, want)
		}
	}
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		// A shell sets some of its own.
		if !slices.Contains([]string{"KEYROTOR_NOTICE_TYPE", "KEYROTOR_NOTICE_ID", "PASSED_ON", "PATH", "HOME", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}, name) {
			t.Errorf("the environment has %s", variable)
		}
	}
}

// TestCommandFails: which end is about the message, and what is shown of it.
func TestCommandFails(t *testing.T) {
	m := message(t)
	for name, c := range map[string]struct {
		text    string
		refused bool
		shown   string
		hidden  string
	}{
		"an error":         {"echo 'no such channel' >&2; echo more >&2; exit 1", true, "no such channel", "more"},
		"not now":          {"exit 75", false, "75", "says"},
		"killed":           {"kill -9 $$", true, "killed", "says"},
		"control sequence": {`printf '\033[31mred\007' >&2; exit 2`, true, "[31mred", "\x1b"},
		"a long line":      {`head -c 100000 /dev/zero | tr '\0' x >&2; exit 2`, true, "xxx…", strings.Repeat("x", 201)},
		"standard output":  {"echo nothing; exit 3", true, "3", "nothing"},
	} {
		err := command(t, notify.CommandConfig{Argv: []string{script(t, c.text)}}).Send(t.Context(), m)
		if err == nil || errors.Is(err, notify.ErrRefused) != c.refused || !strings.Contains(err.Error(), c.shown) || strings.Contains(err.Error(), c.hidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := command(t, notify.CommandConfig{Argv: []string{"/no/such/program"}}).Send(t.Context(), m); err == nil || errors.Is(err, notify.ErrRefused) {
		t.Errorf("no such program: %v", err)
	}
	// Who does not read its input, or leaves something behind, is fine.
	m.Body = bytes.Repeat([]byte(" "), 1<<20)
	if err := command(t, notify.CommandConfig{Argv: []string{script(t, "exit 0")}}).Send(t.Context(), m); err != nil {
		t.Errorf("it does not read its input: %v", err)
	}
	// Who heard it and leaves something running must not hear it again and again.
	if err := command(t, notify.CommandConfig{Argv: []string{script(t, "sleep 5 & exit 0")}}).Send(t.Context(), m); err != nil {
		t.Errorf("it leaves something behind: %v", err)
	}
}

// TestCommandTimeout: what runs too long is killed with what it started.
func TestCommandTimeout(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	path := script(t, fmt.Sprintf("sleep 1000 & echo $! > %[1]s.new; mv %[1]s.new %[1]s; wait", file))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- command(t, notify.CommandConfig{Argv: []string{path}}).Send(ctx, message(t)) }()
	var pid int
	eventually(t, "the command runs", func() bool {
		b, err := os.ReadFile(file)
		if err == nil {
			_, err = fmt.Sscan(string(b), &pid)
		}
		return err == nil
	})
	cancel()
	if err := <-ended; err == nil || errors.Is(err, notify.ErrRefused) {
		t.Error(err)
	}
	eventually(t, "its child is gone", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); {
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestCommandRefused: what could not work.
func TestCommandRefused(t *testing.T) {
	for name, c := range map[string]notify.CommandConfig{
		"nothing":         {},
		"a relative path": {Argv: []string{"true"}},
		"a value":         {Argv: []string{"/bin/true"}, Environment: []string{"A=B"}},
		"no name":         {Argv: []string{"/bin/true"}, Environment: []string{""}},
		"ours":            {Argv: []string{"/bin/true"}, Environment: []string{"KEYROTOR_NOTICE_ID"}},
		"a zero byte":     {Argv: []string{"/bin/true", "a\x00b"}},
	} {
		if _, err := notify.NewCommand(c); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
