package console

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode": "plain, ünïcode",
		"two\nlines\t\r": "two lines  ",
		"\x1b[31mred":    "\uFFFD[31mred",
		"\x00\x7f\u009b": "\uFFFD\uFFFD\uFFFD",
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	c := &Console{Out: &out, outTerminal: true}
	if err := c.Table([]string{"NAME", "NOTE"}, [][]string{{"payments", "a\nb"}, {"x", ""}}); err != nil {
		t.Fatal(err)
	}
	const want = "\x1b[1mNAME      NOTE\x1b[0m\npayments  a b\nx\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	c.plain = true
	if err := c.Table([]string{"NAME"}, nil); err != nil || out.String() != "NAME\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestNewReadsTheEnvironment(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, env := range []struct {
		name, value string
		plain       bool
	}{
		{"", "", false}, {"NO_COLOR", "1", true}, {"NO_COLOR", "", false}, {"TERM", "dumb", true}, {"TERM", "xterm", false},
	} {
		c := New(null, null, null, func(name string) string {
			if name == env.name {
				return env.value
			}
			return ""
		})
		if c.plain != env.plain {
			t.Errorf("%s=%s: plain is %v", env.name, env.value, c.plain)
		}
		if c.InTerminal() || c.OutTerminal() || c.Watched() || c.Progress() != nil {
			t.Error("the null device is taken for a terminal")
		}
	}
}

func TestAnswerKeepsRawBytes(t *testing.T) {
	var out bytes.Buffer
	raw := json.RawMessage(`{"note":"a\u003cb & c","n":1e3}`)
	if err := (&Console{Out: &out}).Answer([]json.RawMessage{raw}); err != nil {
		t.Fatal(err)
	}
	if want := "[" + string(raw) + "]\n"; out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}

func TestWhatPeopleAndScriptsAreTold(t *testing.T) {
	var err bytes.Buffer
	c := &Console{Err: &err}
	tell := func() {
		c.Hint("next: %d", 1)
		c.Note("waiting")
		c.Warn("old")
		c.Fail("no:\n  \x1b[2J")
	}
	tell()
	if want := "next: 1\nnote: waiting\nwarning: old\nkeyrotor: no:\n  \uFFFD[2J\n"; err.String() != want {
		t.Errorf("got %q, want %q", err.String(), want)
	}
	err.Reset()
	c.JSON = true
	c.Hint("next")
	c.Note("waiting <")
	c.Warn("old")
	c.Complain(map[string]int{"error": 1})
	c.Logger(slog.LevelInfo).Info("seen")
	c.Logger(slog.LevelInfo).Debug("not seen")
	lines := strings.Split(strings.TrimSpace(err.String()), "\n")
	if len(lines) != 4 || lines[0] != `{"note":"waiting <"}` || lines[1] != `{"warning":"old"}` || lines[2] != `{"error":1}` {
		t.Errorf("got %q", lines)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s is no JSON", line)
		}
	}
}

func TestProgressOfNothing(*testing.T) {
	var none *Progress
	none.Set("x", 1, 2)
	none.Close()
	(&Progress{console: &Console{}}).Set("x", 0, 0)
}

func TestProgressIsTakenAway(t *testing.T) {
	var err bytes.Buffer
	c := &Console{Err: &err, errTerminal: true}
	bar := c.Progress()
	bar.Set("a.env", 50, 100)
	bar.Set("b.env", 150, 100)
	bar.Close()
	if !strings.Contains(err.String(), "a.env") || !strings.Contains(err.String(), "50%") {
		t.Errorf("got %q", err.String())
	}
	if lines := strings.Split(err.String(), "\r"); strings.TrimSpace(lines[len(lines)-1]) != "" {
		t.Errorf("the bar stays: %q", err.String())
	}
}
