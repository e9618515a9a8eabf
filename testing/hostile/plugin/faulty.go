package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/local"
)

// rawStdout and rawStderr are the streams that the host reads; os.Stdout and os.Stderr
// become go-plugin's.
var rawStdout, rawStderr = os.NewFile(1, "stdout"), os.NewFile(2, "stderr")

// faulty is one instance. Its key-encryption key lies in the journal; the first call
// that needs it makes it.
type faulty struct {
	provider.KeyManager
	provider.Config
	makeKey func() error
	noises  sync.Once
}

func newFaulty(cfg provider.Config) (provider.KeyManager, error) {
	f := &faulty{Config: cfg}
	f.note("Configure")
	if f.fault("Configure") == "config" {
		return nil, &provider.Error{Code: provider.InvalidConfig, Attribute: "fault", Message: "no instance for token " + f.token()}
	}
	km, err := local.New(context.Background(), provider.Config{
		Instance: cfg.Instance,
		Body:     provider.Body{Attributes: map[string]any{"path": f.file("kek")}},
	})
	if err != nil {
		return nil, err
	}
	f.KeyManager = km
	f.makeKey = sync.OnceValue(func() error {
		_, err := km.(provider.KeyCreator).CreateKey(context.Background(), provider.CreateKeyRequest{})
		if errors.Is(err, provider.AlreadyExists) {
			return nil
		}
		return err
	})
	return f, nil
}

// file is a file of the instance in its journal.
func (f *faulty) file(name string) string {
	return filepath.Join(f.Body.String("journal"), f.Instance+"."+name)
}

func (f *faulty) token() string { return string(f.Body.Secret("token").Reveal()) }

// fault is what a call is to do wrong: "FAULT" stands for every call, "CALL FAULT" for
// one of them.
func (f *faulty) fault(call string) string {
	text := f.Body.String("fault")
	if b, err := os.ReadFile(f.file("fault")); err == nil {
		text = string(b)
	}
	of, fault, only := strings.Cut(text, " ")
	switch {
	case !only:
		return of
	case of == call:
		return fault
	default:
		return ""
	}
}

// note journals a call and answers how many of its kind there were before, in
// any process.
func (f *faulty) note(call string) int {
	for n := 0; ; n++ {
		file, err := os.OpenFile(fmt.Sprintf("%s.%d", f.file(call), n), os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			_ = file.Close()
			return n
		}
		if !errors.Is(err, os.ErrExist) {
			panic(err)
		}
	}
}

// begin journals a call and carries the fault out that keeps it from an answer.
func (f *faulty) begin(call string) error {
	n := f.note(call)
	switch f.fault(call) {
	case "crash":
		os.Exit(3)
	case "crash-once":
		if n == 0 {
			os.Exit(3)
		}
	case "stray-panic":
		go panic("boom " + f.token())
		select {}
	case "panic":
		panic("boom " + f.token())
	case "hang":
		select {}
	case "stop":
		stop()
	case "wait": // until the fault is taken away
		for f.fault(call) == "wait" {
			time.Sleep(time.Millisecond)
		}
	case "endless-line":
		f.noises.Do(func() { go f.endlessLine(call) })
	case "throttle-once":
		if n == 0 {
			return &provider.Error{Code: provider.Throttled, Message: "slow down", RetryAfter: 20 * time.Millisecond}
		}
	case "throttle-long":
		return &provider.Error{Code: provider.Throttled, Message: "slow down", RetryAfter: time.Hour}
	case "unavailable":
		return provider.Errorf(provider.Unavailable, "try %d failed", n)
	case "denied":
		return provider.Errorf(provider.Denied, "token %s is not allowed\x1b[2J", f.token())
	}
	if call == "Check" {
		return nil
	}
	return f.makeKey()
}

// endlessLine writes a line to both streams that does not end before the fault does.
func (f *faulty) endlessLine(call string) {
	piece := strings.Repeat("y", 1<<16)
	for f.fault(call) == "endless-line" {
		fmt.Fprint(rawStderr, piece)
		fmt.Fprint(os.Stdout, piece)
	}
	fmt.Fprintln(rawStderr, "\n"+`{"@level":"info","@message":"the line has ended"}`)
}

func (f *faulty) Check(context.Context, provider.CheckRequest) (provider.CheckResponse, error) {
	if f.Body.String("fault") == "quiet" { // for benchmarks
		return provider.CheckResponse{}, nil
	}
	if err := f.begin("Check"); err != nil {
		return provider.CheckResponse{}, err
	}
	switch f.fault("Check") {
	case "noise":
		f.noise()
	case "echo":
		return provider.CheckResponse{Identity: "token " + f.token(), Account: f.token()}, nil
	case "child":
		return startChild(&syscall.SysProcAttr{})
	case "escapee":
		return startChild(detached())
	}
	return provider.CheckResponse{}, f.surroundings()
}

// surroundings journals what the process was given.
func (f *faulty) surroundings() error {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	return os.WriteFile(f.file("surroundings"), []byte(encode(append(os.Environ(), "stdin="+string(stdin)))), 0o600)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// noise writes what breaks naive readers of a plugin's log.
func (f *faulty) noise() {
	for _, line := range []string{
		`{"@message": 1, "@level": ["x"], "@timestamp": {}}`,
		encode(map[string]any{
			"@level": "warn", "@message": "token " + f.token() + " in use", "plugin": "forged",
			"nested": map[string]any{"token": []string{f.token()}},
		}),
		"plain " + f.token() + " \x1b[2Jtext",
		strings.Repeat("y", 16<<10-8) + f.token() + strings.Repeat("z", 1<<20),
		`{"@level":"info","@message":"the end"}`,
	} {
		fmt.Fprintln(rawStderr, line)
	}
	fmt.Fprintln(os.Stdout, "to stdout", f.token())
}

// startChild leaves a process behind that keeps the plugin's streams open.
func startChild(attr *syscall.SysProcAttr) (provider.CheckResponse, error) {
	cmd := exec.Command("/bin/sleep", "300")
	cmd.SysProcAttr = attr
	cmd.Stdout, cmd.Stderr = rawStdout, rawStderr
	if err := cmd.Start(); err != nil {
		return provider.CheckResponse{}, err
	}
	return provider.CheckResponse{Identity: encode(cmd.Process.Pid)}, nil
}

// Close also says so on the stream that the host reads: a file may take longer on
// a busy disk than a plugin that ends is given.
func (f *faulty) Close() error {
	fmt.Fprintln(rawStderr, "closing", f.Instance)
	f.note("Close")
	return f.KeyManager.Close()
}
