package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestStdinEndsWithTheContext(t *testing.T) {
	never, _ := io.Pipe() // a terminal at which nobody types
	defer func() { _ = never.Close() }()
	a := newApp()
	a.In = never
	ctx, cancel := context.WithCancelCause(t.Context())
	in := a.stdin(ctx)
	defer in.Close()
	why := errors.New("enough")
	go cancel(why)
	if _, err := readAll(in, 10); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

func TestReadAll(t *testing.T) {
	long := strings.Repeat("x", 3*copySize)
	for _, text := range []string{"", "x", long} {
		got, err := readAll(iotest.OneByteReader(strings.NewReader(text)), len(text))
		if err != nil || string(got) != text {
			t.Errorf("%d bytes: got %d, %v", len(text), len(got), err)
		}
		if _, err := readAll(strings.NewReader(text+"x"), len(text)); !errors.Is(err, errTooLarge) {
			t.Errorf("%d bytes and one: %v, want errTooLarge", len(text), err)
		}
	}
	broken := errors.New("broken")
	if _, err := readAll(iotest.ErrReader(broken), 10); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestTrimToken(t *testing.T) {
	for in, want := range map[string]string{
		"":              "",
		"t":             "t",
		"t\n":           "t",
		"t\r\n":         "t",
		"t\r":           "t\r",
		"t\n\n":         "t\n",
		"\xd3KR\x01x\n": "\xd3KR\x01x\n", // binary: the newline is a part of the tag
	} {
		if got := string(trimToken([]byte(in))); got != want {
			t.Errorf("trimToken(%q) = %q, want %q", in, got, want)
		}
	}
}

func readLines(t *testing.T, r io.Reader, limit int) ([]string, error) {
	t.Helper()
	l := newLineReader(r, limit)
	defer l.wipe()
	var got []string
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if got = append(got, string(line)); l.number != len(got) {
			t.Errorf("line %d has the number %d", len(got), l.number)
		}
	}
}

func TestLineReaderLimit(t *testing.T) {
	long := strings.Repeat("x", 2*copySize)
	for _, end := range []string{"", "\n", "\nnext"} {
		got, err := readLines(t, strings.NewReader("a\n"+long+end), len(long))
		if err != nil || got[1] != long {
			t.Errorf("end %q: %d lines, %v", end, len(got), err)
		}
		got, err = readLines(t, strings.NewReader("a\n"+long+"y"+end), len(long))
		if !errors.Is(err, errTooLarge) || !strings.Contains(err.Error(), "line 2 is over 131072 bytes") || len(got) != 1 {
			t.Errorf("end %q: %q, %v; want line 2 to be refused", end, got, err)
		}
	}
	broken := errors.New("broken")
	got, err := readLines(t, io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), 10)
	if !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestLineReaderWaits: half a line must not hold back the answers to those before it.
func TestLineReaderWaits(t *testing.T) {
	l := newLineReader(strings.NewReader("one\ntwo\nhal"), 10)
	for _, want := range []bool{true, false, true} {
		if got := l.waits(); got != want {
			t.Errorf("before line %d: it waits: %v", l.number+1, got)
		}
		if _, err := l.next(); err != nil {
			t.Fatal(err)
		}
	}
	if l.waits() {
		t.Error("it waits at the end")
	}
}

// TestLinesAreWiped: no buffer keeps what went through it.
func TestLinesAreWiped(t *testing.T) {
	const planted = "planted"
	l := newLineReader(iotest.HalfReader(strings.NewReader(strings.Repeat(planted+"\n", 3*copySize/len(planted))+strings.Repeat(planted, copySize))), 10*copySize)
	buffers := map[*byte][]byte{}
	for err := error(nil); err == nil; _, err = l.next() {
		buffers[&l.buf[0]] = l.buf
	}
	l.wipe()
	if len(buffers) < 2 {
		t.Errorf("the reader had %d buffers: the test shows less than it should", len(buffers))
	}
	w := newLineWriter(io.Discard, false, "things")
	buffers[&w.buf[:1][0]] = w.buf[:cap(w.buf)]
	for range 3 * copySize / len(planted) {
		if err := w.put([]byte(planted)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	for _, b := range buffers {
		if bytes.Contains(b, []byte(planted[:3])) {
			t.Errorf("a buffer of %d bytes still holds some", len(b))
		}
	}
}

func FuzzLineReader(f *testing.F) {
	for _, seed := range []string{"", "\n", "a", "a\nb", "a\r\n\n\x00\n", strings.Repeat("x", copySize) + "\ny"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readLines(t, iotest.HalfReader(strings.NewReader(text)), len(text))
		if err != nil {
			t.Fatal(err)
		}
		joined := strings.Join(got, "\n")
		if strings.HasSuffix(text, "\n") {
			joined += "\n"
		}
		if joined != text {
			t.Errorf("%q came back as %q", text, joined)
		}
	})
}

func TestLineWriter(t *testing.T) {
	for _, c := range []struct {
		json bool
		want string
	}{
		{false, "a\n\nb\n"},
		{true, `{"things":["a",null,"b"],"failed":[{"line":2}]}` + "\n"},
	} {
		var b bytes.Buffer
		w := newLineWriter(&b, c.json, "things")
		err := errors.Join(w.put([]byte("a")), w.skip(), w.put([]byte("b")), w.close(`"failed":[{"line":2}]`))
		if err != nil || b.String() != c.want || w.count != 2 {
			t.Errorf("json %v: %q, count %d, %v", c.json, b.String(), w.count, err)
		}
		if c.json && !json.Valid(b.Bytes()) {
			t.Errorf("not JSON: %s", &b)
		}
	}
}

func TestLineWriterTellsOfAClosedOutput(t *testing.T) {
	r, w := io.Pipe()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		out := newLineWriter(w, asJSON, "things")
		if err := errors.Join(out.put([]byte("a")), out.close()); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("json %v: %v", asJSON, err)
		}
	}
}
