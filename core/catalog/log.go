package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
)

// maxLogLine bounds a plugin's log line in bytes. The rest of a longer one is dropped.
const maxLogLine = 16 << 10

// logWriter turns what a plugin writes to a stream into records of the host's
// logger. go-plugin could do so itself, but its parser panics on a line whose
// "@message" is no string, so a faulty plugin would take the host down; and it
// splits a long line where a secret may lie across the cut.
type logWriter struct {
	log    *slog.Logger
	redact *redactor

	mu       sync.Mutex
	line     []byte
	dropping bool // the line is over maxLogLine and was emitted already
	panicked bool // a stack trace has begun; all that follows belongs to it
}

// Write takes any piece of the stream. It never fails.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		w.take(part)
		if ended {
			w.end()
		}
		p = rest
	}
	return n, nil
}

func (w *logWriter) take(part []byte) {
	if w.dropping {
		return
	}
	room := maxLogLine - len(w.line)
	if len(part) <= room {
		w.line = append(w.line, part...)
		return
	}
	w.line = append(w.line, part[:room]...)
	w.log.Debug(w.redact.beheaded(printable(string(w.line))), "cut_after_bytes", maxLogLine)
	w.dropping = true
}

func (w *logWriter) end() {
	if line := bytes.TrimSpace(w.line); len(line) > 0 && !w.dropping {
		w.emit(line)
	}
	clear(w.line)
	w.line, w.dropping = w.line[:0], false
}

func (w *logWriter) emit(line []byte) {
	var fields map[string]any
	if json.Unmarshal(line, &fields) == nil && fields != nil {
		w.emitRecord(fields)
		return
	}
	text := string(line)
	if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
		w.panicked = true
	}
	lvl := slog.LevelDebug
	if w.panicked {
		lvl = slog.LevelError
	}
	w.log.Log(context.Background(), lvl, w.redact.text(printable(text)))
}

// emitRecord logs one line of hclog's JSON format. The plugin's own fields go
// into a group, lest it forge ours.
func (w *logWriter) emitRecord(fields map[string]any) {
	lvl := slog.LevelDebug
	for _, l := range levels() {
		if fields["@level"] == l.hclog {
			lvl = l.slog
		}
	}
	msg := w.value(fields["@message"])
	var attrs []any
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		switch k {
		case "@level", "@message", "@timestamp":
		default:
			attrs = append(attrs, slog.String(w.value(k), w.value(fields[k])))
		}
	}
	w.log.Log(context.Background(), lvl, msg, slog.Group("fields", attrs...))
}

// value writes a field as text. What it nests is cleaned before it is encoded:
// an encoder may spell a secret in a way of its own.
func (w *logWriter) value(v any) string {
	switch v := w.clean(v).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprintf("%T", v)
		}
		return string(text)
	}
}

func (w *logWriter) clean(v any) any {
	switch v := v.(type) {
	case string:
		return w.redact.text(printable(v))
	case []any:
		for i := range v {
			v[i] = w.clean(v[i])
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[w.redact.text(printable(k))] = w.clean(x)
		}
		return out
	default:
		return v
	}
}

// printable replaces what could steer a terminal. Line breaks and tabs stay: the
// host's handler quotes them.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\n' && r != '\t') || (r >= 0x7f && r < 0xa0) {
			return '�'
		}
		return r
	}, s)
}
