// Package console is what a command says and to whom. Standard output carries the
// answer and nothing else, because scripts read it; standard error carries what
// is for people. With JSON chosen, every line on either stream is a JSON value.
package console

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Console holds the three streams of a process. Make one with [New].
type Console struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// JSON turns answers, notes and logs into JSON.
	JSON bool

	inTerminal, outTerminal, errTerminal bool
	// plain: no colour and nothing that moves, whatever the terminal.
	plain bool
}

// New looks at the streams and at the environment: NO_COLOR and TERM=dumb turn
// colour off.
func New(in, out, err *os.File, getenv func(string) string) *Console {
	return &Console{
		In: in, Out: out, Err: err,
		inTerminal:  isTerminal(in),
		outTerminal: isTerminal(out),
		errTerminal: isTerminal(err),
		plain:       getenv("NO_COLOR") != "" || getenv("TERM") == "dumb",
	}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// InTerminal reports whether a person types the input.
func (c *Console) InTerminal() bool { return c.inTerminal }

// OutTerminal reports whether a person reads standard output.
func (c *Console) OutTerminal() bool { return c.outTerminal }

// Watched reports whether a person watches standard error, so that progress has a
// purpose.
func (c *Console) Watched() bool { return c.errTerminal && !c.JSON }

// Answer writes the one answer of a command as one line of JSON. Nothing in it is
// re-encoded: the bytes of a json.RawMessage come out as they are.
func (c *Console) Answer(v any) error {
	enc := json.NewEncoder(c.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Printf writes a part of the answer for people.
func (c *Console) Printf(format string, args ...any) error {
	_, err := fmt.Fprintf(c.Out, format, args...)
	return err
}

// Hint tells a person what to do next. A script needs no hints.
func (c *Console) Hint(format string, args ...any) {
	if !c.JSON {
		fmt.Fprintln(c.Err, harmless(fmt.Sprintf(format, args...)))
	}
}

// Note says something that whoever started the command should know.
func (c *Console) Note(format string, args ...any) {
	c.say("note", fmt.Sprintf(format, args...))
}

// Warn says that something is wrong although the command goes on.
func (c *Console) Warn(format string, args ...any) {
	c.say("warning", fmt.Sprintf(format, args...))
}

func (c *Console) say(what, text string) {
	if c.JSON {
		c.Complain(map[string]string{what: text})
		return
	}
	fmt.Fprintf(c.Err, "%s: %s\n", c.bold(what), harmless(text))
}

// Fail says why the command failed.
func (c *Console) Fail(text string) {
	fmt.Fprintf(c.Err, "%s %s\n", c.red("keyrotor:"), harmless(text))
}

// Complain writes one line of JSON to standard error.
func (c *Console) Complain(v any) {
	enc := json.NewEncoder(c.Err)
	enc.SetEscapeHTML(false)
	// Whoever closed standard error does not want to hear about it.
	_ = enc.Encode(v)
}

// Logger writes the logs of the libraries to standard error.
func (c *Console) Logger(level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(c.Err, o))
	}
	return slog.New(slog.NewTextHandler(c.Err, o))
}

func (c *Console) bold(s string) string { return c.styled(c.errTerminal, "1", s) }

func (c *Console) red(s string) string { return c.styled(c.errTerminal, "1;31", s) }

func (c *Console) styled(terminal bool, style, s string) string {
	if !terminal || c.plain {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// Printable makes text that others wrote fit on one line, and keeps it from
// steering the terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case unicode.IsControl(r):
			return '\uFFFD'
		default:
			return r
		}
	}, s)
}

// harmless keeps text of several lines, in which the names of files and the words
// of plugins may stand, from steering the terminal.
func harmless(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = Printable(line)
	}
	return strings.Join(lines, "\n")
}
