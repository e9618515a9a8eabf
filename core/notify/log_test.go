package notify_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/notify"
)

// TestLogFile: one line of JSON each, in a file that only its owner reads, and whole lines
// even after one that was cut off.
func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notices.jsonl")
	s, err := notify.NewLog(notify.LogConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	m := message(t)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := s.Send(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"specversion":"1.`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := s.Send(t.Context(), m); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) != 13 || lines[10] != `{"specversion":"1.` || lines[12] != "" {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i, line := range lines[:12] {
		if i != 10 && line != string(m.Body) {
			t.Errorf("line %d: %s, want %s", i, line, m.Body)
		}
	}
	// It was moved away: there is a new one.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), m); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != string(m.Body)+"\n" {
		t.Errorf("%s, %v", b, err)
	}
	for name, path := range map[string]string{
		"a folder":        t.TempDir(),
		"no folder":       filepath.Join(t.TempDir(), "no", "such"),
		"no regular file": "/dev/null",
	} {
		s, err := notify.NewLog(notify.LogConfig{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), m); err == nil {
			t.Errorf("%s: it is written", name)
		}
	}
}

// TestLogger: a line at the level that the type deserves.
func TestLogger(t *testing.T) {
	var out bytes.Buffer
	s, err := notify.NewLog(notify.LogConfig{Log: slog.New(slog.NewJSONHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	levels := make(map[string]int)
	for _, typ := range notify.Types() {
		out.Reset()
		m := notify.Message{ID: "1-a", Notice: notify.Notice{Type: typ, Key: "payments", NewVersion: 3, Details: map[string]string{"a": "b"}}}
		if err := s.Send(t.Context(), m); err != nil {
			t.Error(err)
		}
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["type"] != string(typ) || line["id"] != "1-a" || line["key"] != "payments" || line["version"] != 3.0 {
			t.Errorf("%s", out.Bytes())
		}
		if _, ok := line["reason"]; ok {
			t.Errorf("empty fields are written: %s", out.Bytes())
		}
		levels[line["level"].(string)]++
	}
	if levels["ERROR"] != 2 || levels["WARN"] != 5 || levels["INFO"] != 6 {
		t.Errorf("levels %v", levels)
	}
}

// TestLogRefused: what could not work.
func TestLogRefused(t *testing.T) {
	for name, c := range map[string]notify.LogConfig{
		"nothing":         {},
		"both":            {Log: slog.Default(), Path: "/tmp/x"},
		"a relative path": {Path: "x"},
	} {
		if _, err := notify.NewLog(c); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
