package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/keyrotor/keyrotor/core/provider"
)

func newLogWriter(secrets ...string) (*logWriter, *bytes.Buffer) {
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug - 4,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	w := &logWriter{log: slog.New(handler), redact: &redactor{}}
	for _, s := range secrets {
		w.redact.add(provider.Body{Attributes: map[string]any{"token": provider.NewSecret([]byte(s))}})
	}
	return w, &out
}

func TestLogWriter(t *testing.T) {
	w, out := newLogWriter("s3cret")
	in := strings.Join([]string{
		`{"@level":"trace","@message":"t","@timestamp":"x"}`,
		`{"@level":"error","@message":"e","@module":"local.sub","n":1.5,"ok":true,"list":["s3cret",null]}`,
		`{"@message":1}`, `{"@level":["x"]}`, `null`, `[1]`, `{`, ``, "  ",
		"plain s3cret", "bell \a and \u009b", "panic: x", "goroutine 1:",
		`{"@level":"info","@message":"still read"}`,
	}, "\n") + "\n"
	// One byte at a time, as a stream may come.
	if _, err := bytes.NewBufferString(in).WriteTo(oneByte{w}); err != nil {
		t.Fatal(err)
	}
	want := `level=DEBUG-4 msg=t
level=ERROR msg=e fields.@module=local.sub fields.list="[\"[redacted]\",null]" fields.n=1.5 fields.ok=true
level=DEBUG msg=1
level=DEBUG msg=""
level=DEBUG msg=null
level=DEBUG msg=[1]
level=DEBUG msg={
level=DEBUG msg="plain [redacted]"
level=DEBUG msg="bell � and �"
level=ERROR msg="panic: x"
level=ERROR msg="goroutine 1:"
level=INFO msg="still read"
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

type oneByte struct{ w *logWriter }

func (o oneByte) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := o.w.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestLogWriterCutsWithoutShowingHalfASecret(t *testing.T) {
	const secret = "abcdefghijklmnopqrstuvwxyz"
	for shift := range len(secret) + 2 {
		w, out := newLogWriter(secret)
		line := strings.Repeat("-", maxLogLine-shift) + secret + strings.Repeat("+", 3*maxLogLine) + "\nnext\n"
		if _, err := w.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "abc") {
			t.Fatalf("shift %d: a piece of the secret is in the log", shift)
		}
		if strings.Count(out.String(), "cut_after_bytes=16384") != 1 || !strings.HasSuffix(out.String(), "level=DEBUG msg=next\n") {
			t.Fatalf("shift %d: got %d bytes ending in %q", shift, out.Len(), out.String()[max(0, out.Len()-80):])
		}
	}
}

func TestRedactor(t *testing.T) {
	r := &redactor{}
	r.add(provider.Body{
		Attributes: map[string]any{
			"token": provider.NewSecret([]byte(testToken)), "pin": provider.NewSecret([]byte("abc")),
			"address": "not secret", "empty": provider.NewSecret(nil),
		},
		Blocks: []provider.Block{{Type: "auth", Body: provider.Body{Attributes: map[string]any{
			"key":    provider.NewSecret([]byte("-----BEGIN KEY-----\nTUlJQ0RnSUJBREFOQmdrcWhraUc5dzBC\n-----END KEY-----\n")),
			"longer": provider.NewSecret([]byte(testToken + "-and-more")),
		}}}},
	})
	for in, want := range map[string]string{
		"not secret abc":                          "not secret abc",
		testToken + "!":                           "[redacted]!",
		testToken + "-and-more":                   "[redacted]",
		`hvs.S3cret\"<&>\\42`:                     "[redacted]",
		`hvs.S3cret\"\u003c\u0026\u003e\\42`:      "[redacted]",
		"?t=hvs.S3cret%22%3C%26%3E%5C42&x":        "?t=[redacted]&x",
		"aHZzLlMzY3JldCI8Jj5cNDI= as base64":      "[redacted] as base64",
		"6876732e53336372657422" + "3c263e5c3432": "[redacted]",
		"line TUlJQ0RnSUJBREFOQmdrcWhraUc5dzBC!":  "line [redacted]!",
		"aHZzLlMzY3JldCI8Jj5cNDI, without =":      "[redacted], without =",
		"6876732E53336372657422" + "3C263E5C3432": "[redacted]",
		fmt.Sprintf("%d", []byte(testToken)):      "[[redacted]]",
	} {
		if got := r.text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	r.wipe()
	if got := r.text(testToken); got != testToken {
		t.Errorf("after wipe: %q", got)
	}
}

// TestRedactorKeepsThePromise: an error that is cleaned says no less.
func TestRedactorKeepsThePromise(t *testing.T) {
	r := &redactor{}
	r.add(provider.Body{Attributes: map[string]any{"token": provider.NewSecret([]byte(testToken))}})
	lied := provider.BrokenPromise(provider.Integrity, "a provider works on one key", "it names %s\x1b[2J", testToken)
	err := r.err(lied)
	wantCode(t, err, provider.Integrity)
	const want = "INTEGRITY: broke its promise: a provider works on one key; it names [redacted]�[2J"
	p, ok := errors.AsType[*provider.PromiseError](err)
	if err.Error() != want || !ok || p.Promise != "a provider works on one key" || p.Act != "it names [redacted]�[2J" {
		t.Errorf("got %v, %+v", err, p)
	}
	if plain := error(provider.Errorf(provider.Denied, "no\nnever")); !errors.Is(r.err(plain), plain) {
		t.Error("an error without anything to clean was changed")
	}
}

// TestRootsDoNotComeBack: whichever way a plugin quotes a root that it was to wrap,
// neither the call's error nor the one of an item has it.
func TestRootsDoNotComeBack(t *testing.T) {
	items := []provider.WrapItem{
		{Plaintext: provider.NewSecret(bytes.Repeat([]byte{0xA7, 0x3E}, 16))}, {Plaintext: provider.NewSecret([]byte(testToken))},
	}
	for format, blank := range map[string]string{"%x": "[redacted]", "%X": "[redacted]", "%v": "[[redacted]]", "%q": `"[redacted]"`} {
		said := provider.Errorf(provider.Denied, "no: "+format+" and "+format, items[0].Plaintext.Reveal(), items[1].Plaintext.Reveal())
		results, err := withoutRoots(items, []provider.WrapResult{{}, {Err: said}}, said)
		for _, err := range []error{err, results[1].Err} {
			wantCode(t, err, provider.Denied)
			if want := "DENIED: no: " + blank + " and " + blank; err.Error() != want {
				t.Errorf("%s: got %q, want %q", format, err, want)
			}
		}
		if results[0].Err != nil {
			t.Errorf("an item that was wrapped has the error %v", results[0].Err)
		}
	}
	if string(items[1].Plaintext.Reveal()) != testToken {
		t.Error("a root was wiped that the caller still needs")
	}
}

// TestRedactorLeavesWordsAlone: a message in which a weak secret is blanked tells
// the secret to everybody who knows the message.
func TestRedactorLeavesWordsAlone(t *testing.T) {
	const message = "UNAUTHENTICATED: wrong passphrase for the KEK file: 4096 bytes, mode 0600, key-1"
	for secret, want := range map[string]string{
		"wrong": message, "passphrase": message, "UNAUTH": message, "4096": message, "0600": message, "key-1": message,
		" ": message, "": message, "e": message,
		// What no message says by chance.
		"hunter2": "[redacted]", "p@sswd": "[redacted]", "correcthorse": "[redacted]", "123456789012": "[redacted]", "wrong passphrase!": "[redacted]",
	} {
		r := &redactor{}
		r.add(provider.Body{Attributes: map[string]any{"token": provider.NewSecret([]byte(secret))}})
		in := message
		if want != message {
			in = secret
		}
		if got := r.text(in); got != want {
			t.Errorf("secret %q: %q became %q, want %q", secret, in, got, want)
		}
		if secret == "wrong" && r.text("d3Jvbmc= 77726f6e67") != "[redacted] [redacted]" {
			t.Errorf("a weak secret shows in an encoding: %s", r.text("d3Jvbmc= 77726f6e67"))
		}
	}
}

func FuzzLogWriter(f *testing.F) {
	f.Add([]byte(`{"@message": 1, "@level": {}}` + "\n"))
	f.Add([]byte("panic: s3cret\n\n{\"a\":[{\"b\":\"s3cret\"}]}\n"))
	f.Add(bytes.Repeat([]byte("s3cret"), 4000))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, out := newLogWriter("s3cret")
		if _, err := bytes.NewBuffer(data).WriteTo(iotest.TruncateWriter(w, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out.Bytes(), []byte("s3cret")) {
			t.Errorf("the secret is in the log: %s", out)
		}
		if len(w.line) > maxLogLine {
			t.Errorf("%d bytes are kept of one line", len(w.line))
		}
	})
}
