package vaulttest

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
)

func readFile(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Request is one that the server noted in its audit log: before it did anything, so
// those that were refused are here too.
type Request struct {
	Operation string // read, list, create, update, delete, patch
	Path      string // without /v1/
	Error     string // why it was refused
	// Headers are those that sys/config/auditing/request-headers names.
	Headers map[string][]string
}

// Audit reads the server's audit log from a point on.
type Audit struct {
	path string
	from int64
}

// Audit looks at what the server is asked from now on. The server notes a request before it answers
// it, so a caller who has an answer finds its request here.
func (s *Server) Audit(t testing.TB) *Audit {
	t.Helper()
	s.own(t, "Audit")
	info, err := os.Stat(s.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	return &Audit{path: s.AuditLog, from: info.Size()}
}

// Requests are those noted so far, in order.
func (a *Audit) Requests(t testing.TB) (requests []Request) {
	t.Helper()
	f, err := os.Open(a.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(a.from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests // a line that is not at its end is of a later request
		} else if err != nil {
			t.Fatal(err)
		}
		var entry struct {
			Type    string `json:"type"`
			Error   string `json:"error"`
			Request struct {
				Operation string              `json:"operation"`
				Path      string              `json:"path"`
				Headers   map[string][]string `json:"headers"`
			} `json:"request"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%s: %v in %s", a.path, err, line)
		}
		if r := entry.Request; entry.Type == "request" {
			requests = append(requests, Request{Operation: r.Operation, Path: r.Path, Error: entry.Error, Headers: r.Headers})
		}
	}
}

// Counts says how many requests of each kind were noted so far, by operation and
// path: "update transit/encrypt/payments".
func (a *Audit) Counts(t testing.TB) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, r := range a.Requests(t) {
		counts[r.Operation+" "+r.Path]++
	}
	return counts
}
