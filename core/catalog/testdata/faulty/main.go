// Command faulty is a provider plugin that misbehaves on demand, for the tests
// of core/catalog. FAULTY_START in its environment says what goes wrong before
// it serves, the attribute "fault" what goes wrong in the calls of an instance.
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
	"syscall"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/plugins/sdk"
)

func main() {
	switch os.Getenv("FAULTY_START") {
	case "exit":
		os.Exit(7)
	case "hang":
		select {}
	case "escapee": // leaves the group with the stream that carries the handshake
		cmd := exec.Command("/bin/sleep", "30")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		cmd.Stdout = os.Stdout
		_ = cmd.Start()
		select {}
	case "chatter":
		fmt.Println("welcome to \x1b[31mfaulty\x1b[0m")
		select {}
	case "flood":
		for {
			fmt.Print(strings.Repeat("x", 1<<16))
		}
	}
	sdk.Serve(sdk.Plugin{
		Info: provider.Info{Name: "faulty", Version: "1.2.3", Capabilities: provider.Capabilities{provider.CanRotateKey}},
		Schema: provider.Schema{Doc: "Misbehaves.", Attributes: []provider.Attribute{
			{Name: "journal", Type: provider.String, Required: true, Doc: "A directory; one file a call."},
			{Name: "fault", Type: provider.String, Default: "none"},
			{Name: "token", Type: provider.String, Sensitive: true},
			{Name: "tries", Type: provider.Int, Default: int64(3)},
		}},
		New: func(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
			f := &faulty{Config: cfg}
			f.note("Configure")
			if f.Body.String("fault") == "config" {
				return nil, &provider.Error{Code: provider.InvalidConfig, Attribute: "fault", Message: "no instance for token " + f.token()}
			}
			return f, nil
		},
	})
}

type faulty struct{ provider.Config }

// note journals a call and answers how many of its kind there were before, in
// any process.
func (f *faulty) note(call string) int {
	dir := filepath.Join(f.Body.String("journal"), f.Instance+"."+call)
	for n := 0; ; n++ {
		file, err := os.OpenFile(fmt.Sprintf("%s.%d", dir, n), os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			_ = file.Close()
			return n
		}
		if !errors.Is(err, os.ErrExist) {
			panic(err)
		}
	}
}

func (f *faulty) token() string { return string(f.Body.Secret("token").Reveal()) }

// fail carries the configured fault out.
func (f *faulty) fail(call string) error {
	n := f.note(call)
	switch f.Body.String("fault") {
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
	case "throttle-once":
		if n == 0 {
			return &provider.Error{Code: provider.Throttled, Message: "slow down", RetryAfter: 20 * time.Millisecond}
		}
	case "throttle-long":
		return &provider.Error{Code: provider.Throttled, Message: "slow down", RetryAfter: time.Hour}
	case "unavailable":
		return provider.Errorf(provider.Unavailable, "try %d failed", n)
	case "denied":
		return provider.Errorf(provider.Denied, "token %s is not allowed", f.token())
	}
	return nil
}

func (f *faulty) Check(context.Context, provider.CheckRequest) (provider.CheckResponse, error) {
	if f.Body.String("fault") == "quiet" { // for benchmarks
		return provider.CheckResponse{}, nil
	}
	if err := f.fail("Check"); err != nil {
		return provider.CheckResponse{}, err
	}
	switch f.Body.String("fault") {
	case "noise":
		f.noise()
	case "child":
		return startChild(&syscall.SysProcAttr{})
	case "escapee":
		return startChild(&syscall.SysProcAttr{Setsid: true})
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return provider.CheckResponse{}, err
	}
	return provider.CheckResponse{Identity: encode(os.Environ()), Account: string(stdin)}, nil
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// noise writes what breaks naive readers of a plugin's log. Descriptor 2 is the
// stream that the host reads; os.Stderr is go-plugin's by now.
func (f *faulty) noise() {
	raw := os.NewFile(2, "stderr")
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
		fmt.Fprintln(raw, line)
	}
	fmt.Fprintln(os.Stdout, "to stdout", f.token())
}

// startChild leaves a process behind that keeps the plugin's streams open.
func startChild(attr *syscall.SysProcAttr) (provider.CheckResponse, error) {
	cmd := exec.Command("/bin/sleep", "300")
	cmd.SysProcAttr = attr
	cmd.Stdout, cmd.Stderr = os.NewFile(1, "stdout"), os.NewFile(2, "stderr")
	if err := cmd.Start(); err != nil {
		return provider.CheckResponse{}, err
	}
	return provider.CheckResponse{Identity: encode(cmd.Process.Pid)}, nil
}

func (f *faulty) DescribeKey(context.Context) (provider.DescribeKeyResponse, error) {
	return provider.DescribeKeyResponse{
		KEKID: "faulty/key", State: provider.KeyEnabled, PrimaryVersion: "1",
		Versions: []provider.KeyVersion{{Version: "1", State: provider.KeyEnabled}},
	}, f.fail("DescribeKey")
}

func (f *faulty) GenerateDataKey(context.Context, provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	return provider.GenerateDataKeyResponse{}, provider.Errorf(provider.Unsupported, "not here")
}

func (f *faulty) Wrap(_ context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	var out []provider.WrapResult
	for _, item := range items {
		out = append(out, provider.WrapResult{Wrapped: provider.Wrapped{KEKID: "faulty/key", Blob: append([]byte("wrapped:"), item.Plaintext.Reveal()...)}})
	}
	return out, f.fail("Wrap")
}

func (f *faulty) Unwrap(_ context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	var out []provider.UnwrapResult
	for _, item := range items {
		plain, ok := strings.CutPrefix(string(item.Wrapped.Blob), "wrapped:")
		if !ok {
			out = append(out, provider.UnwrapResult{Err: provider.Errorf(provider.Integrity, "token %s cannot open it", f.token())})
			continue
		}
		out = append(out, provider.UnwrapResult{Plaintext: provider.NewSecret([]byte(plain))})
	}
	return out, f.fail("Unwrap")
}

func (f *faulty) Rewrap(context.Context, []provider.UnwrapItem) ([]provider.WrapResult, error) {
	return nil, provider.Errorf(provider.Unsupported, "not here")
}

func (f *faulty) RotateKey(context.Context, provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	return provider.RotateKeyResponse{OldVersion: "1", NewVersion: "2"}, f.fail("RotateKey")
}

// Close also says so on the stream that the host reads: a file may take longer on
// a busy disk than a plugin that ends is given.
func (f *faulty) Close() error {
	_, _ = syscall.Write(2, []byte("closing "+f.Instance+"\n"))
	f.note("Close")
	return nil
}
