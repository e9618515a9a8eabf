package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

var update = flag.Bool("update", false, "write the golden files anew")

// memory is the simplest log.
type memory struct {
	entries []Entry
	hashes  []tlog.Hash
}

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = m.hashes[index]
	}
	return out, nil
}

func (m *memory) append(tb testing.TB, e Event) {
	tb.Helper()
	entry, err := Append(uint64(len(m.entries)), e, m)
	if err != nil {
		tb.Fatal(err)
	}
	if entry.First != int64(len(m.hashes)) {
		tb.Fatalf("entry %d goes to hash %d, and there are %d", entry.Event.Seq, entry.First, len(m.hashes))
	}
	m.entries = append(m.entries, entry)
	m.hashes = append(m.hashes, entry.Hashes...)
}

// samples are events with every field, with none, and with awkward text.
func samples() []Event {
	at := time.Date(2026, 3, 1, 13, 0, 0, 123456789, time.FixedZone("", 3600))
	return []Event{
		{
			Type: Rotation, Time: at, Actor: "alice@host", Operation: "0195-op", Key: "payments",
			KeyID: "000102030405060708090a0b0c0d0e0f", Version: 2, PreviousVersion: 1, Reason: "manual",
			Note: "after the audit", Provider: "vault", KEKVersion: "7", Count: 1 << 40, ErrorCode: "denied",
			Digest: strings.Repeat("ab", 32), Details: map[string]string{"z": "last", "a": "first"},
		},
		{Type: Creation},
		{
			Type: ConfigChange, Time: at.Truncate(time.Second), Note: "<ü> & \"quoted\"",
			Details: map[string]string{"text": "\n\u2028\xff"},
		},
	}
}

// TestGolden pins the bytes of events, their leaves, and the root of the tree: all
// of them are final.
func TestGolden(t *testing.T) {
	var log memory
	var got bytes.Buffer
	for _, e := range samples() {
		log.append(t, e)
		entry := log.entries[len(log.entries)-1]
		root, err := Root(entry.Event.Seq, &log)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "event %s\nleaf  %v\nroot  %v\n", entry.Bytes, entry.Leaf(), root)
	}
	path := filepath.Join("testdata", "log-v1.txt")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("a final format has changed.\ngot:\n%s\nwant:\n%s", got.String(), want)
	}
	for i, line := range strings.Split(string(want), "\n") {
		if text, ok := strings.CutPrefix(line, "event "); ok {
			if e, err := Decode([]byte(text)); err != nil || e.Type != samples()[i/3].Type || e.Seq != uint64(i/3+1) {
				t.Errorf("an old event reads %+v, %v", e, err)
			}
		}
	}
}

// TestRoot compares the roots of all sizes with RFC 6962's own definition.
func TestRoot(t *testing.T) {
	var log memory
	for size := range uint64(70) {
		root, err := Root(size, &log)
		if want := merkle(log.entries); err != nil || root != want {
			t.Fatalf("root of %d events %v, %v; want %v", size, root, err, want)
		}
		log.append(t, Event{Type: Usage, Count: size})
	}
	for i, e := range log.entries {
		proof, err := tlog.ProveRecord(int64(len(log.entries)), int64(i), &log)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, int64(len(log.entries)), merkle(log.entries), int64(i), Leaf(e.Bytes)); err != nil {
			t.Errorf("event %d: %v", e.Event.Seq, err)
		}
	}
}

// merkle is MTH of RFC 6962, section 2.1.
func merkle(entries []Entry) tlog.Hash {
	switch n := len(entries); n {
	case 0:
		h, _ := tlog.ParseHash("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=") // SHA-256 of nothing
		return h
	case 1:
		return tlog.RecordHash(entries[0].Bytes)
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		return tlog.NodeHash(merkle(entries[:k]), merkle(entries[k:]))
	}
}

func TestAppendFails(t *testing.T) {
	errRead := errors.New("no hashes")
	broken := tlog.HashReaderFunc(func(i []int64) ([]tlog.Hash, error) {
		if len(i) > 0 {
			return nil, errRead
		}
		return nil, nil
	})
	if _, err := Append(1, Event{}, broken); !errors.Is(err, errRead) || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("Append: %v", err)
	}
	if _, err := Root(2, broken); !errors.Is(err, errRead) {
		t.Errorf("Root: %v", err)
	}
	if _, err := Append(0, Event{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, broken); err == nil {
		t.Error("a year that JSON cannot hold was encoded")
	}
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		``:                          "decode event",
		`[]`:                        "decode event",
		`{"schema":0}`:              "schema 0",
		`{"schema":-1}`:             "schema -1",
		`{"schema":1} {}`:           "decode event",
		`{"schema":1,"version":-1}`: "decode event",
	} {
		if _, err := Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if e, err := Decode([]byte(`{"schema":1,"seq":3,"type":"usage","later":{"x":1}}`)); err != nil || e.Seq != 3 {
		t.Errorf("an event with a field of the future: %+v, %v", e, err)
	}
}

// TestDecodeNewerSchema: what a newer build wrote is not damage, even where a field
// has another type by then.
func TestDecodeNewerSchema(t *testing.T) {
	for _, text := range []string{
		`{"schema":2,"seq":7,"type":"rotation"}`,
		`{"schema":2,"seq":7,"version":"two","time":1,"details":[]}`,
	} {
		_, err := Decode([]byte(text))
		if want := "event 7 has schema 2, and this build reads up to 1"; !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ErrSchema and %q", text, err, want)
		}
	}
	if _, err := Decode([]byte(`{"schema":1,"version":"two"}`)); err == nil || errors.Is(err, ErrSchema) {
		t.Errorf("damage: %v", err)
	}
}

// TestText: what an operator says is bounded, and shows as it is.
func TestText(t *testing.T) {
	for name, c := range map[string]struct {
		event Event
		want  string // empty: it is fine
	}{
		"none":            {Event{}, ""},
		"longest":         {Event{Actor: strings.Repeat("a", 256), Note: strings.Repeat("é", 512)}, ""},
		"many scripts":    {Event{Note: "שלום, 全角\u3000 👩\u200d🚀 \ufffd"}, ""},
		"long note":       {Event{Note: strings.Repeat("n", 1025)}, "the note has 1025 bytes: shorten it to 1024"},
		"long actor":      {Event{Actor: strings.Repeat("a", 257)}, "the actor has 257 bytes: shorten it to 256"},
		"not UTF-8":       {Event{Note: "a\xff"}, "the note is not UTF-8"},
		"two lines":       {Event{Note: "a\nb"}, "the note has the control character U+000A at byte 1"},
		"escape sequence": {Event{Actor: "\x1b[2J"}, "the actor has the control character U+001B at byte 0"},
		"C1":              {Event{Note: "\u009b2J"}, "U+009B"},
		"line separator":  {Event{Note: "a\u2028b"}, "U+2028"},
		"bidi override":   {Event{Note: "a\u202eb"}, "U+202E"},
		"isolate":         {Event{Actor: "a\u2066b"}, "U+2066"},
	} {
		err := c.event.Check()
		if _, encoding := c.event.Encode(); (err == nil) != (encoding == nil) {
			t.Errorf("%s: Check %v, Encode %v", name, err, encoding)
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.Is(err, ErrText) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := (Event{KEKVersion: strings.Repeat("7", MaxSize)}).Encode(); !errors.Is(err, ErrText) {
		t.Errorf("an answer of a plugin without end: %v", err)
	}
}

func TestTypes(t *testing.T) {
	seen := map[Type]bool{}
	for _, typ := range Types() {
		if seen[typ] || typ == "" {
			t.Errorf("%q is listed twice, or empty", typ)
		}
		seen[typ] = true
	}
	if len(seen) != 21 {
		t.Errorf("%d types, want 21", len(seen))
	}
}

func FuzzDecode(f *testing.F) {
	var log memory
	for _, e := range samples() {
		log.append(f, e)
		f.Add(log.entries[len(log.entries)-1].Bytes)
	}
	f.Add([]byte(`{"schema":1,"time":"9999-12-31T23:59:59.9999999-23:59"}`))
	f.Add([]byte(`{"schema":1,"details":{"a":null},"unknown":[1,2]}`))
	f.Add([]byte(`{"SCHEMA":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		first, err := e.Encode()
		if err != nil {
			return // a year that is none of JSON's, or what no build writes in a note
		}
		again, err := Decode(first)
		if err != nil {
			t.Fatalf("%s was decoded and its encoding %s was not: %v", b, first, err)
		}
		second, err := again.Encode()
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s encodes again as %s, %v", first, second, err)
		}
		if !json.Valid(first) || !reflect.DeepEqual(again.Details, e.Details) && len(e.Details) > 0 {
			t.Fatalf("%s lost its details %v", first, e.Details)
		}
	})
}
