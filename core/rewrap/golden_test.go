package rewrap

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/rotation"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestGolden: what stands in intents and events for ever. Later builds read it, so a
// difference is to be mended in the code.
func TestGolden(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.rotateByHand(t, "a")
	var details []string
	b.onStep = func(s rotation.Step) {
		if s != StepRotated {
			return
		}
		in, err := b.store.Intents(t.Context())
		if err != nil || len(in) != 1 {
			t.Fatalf("intents %v, %v", in, err)
		}
		details = append(details, strings.ReplaceAll(in[0].Key+" "+in[0].Kind+" "+in[0].Detail, in[0].Operation, "OPERATION"))
	}
	if _, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a", Note: "why"}); err != nil {
		t.Fatal(err)
	}
	req := aToB("payments")
	req.Note = "why"
	b.migrate(t, req)
	for _, e := range b.events(t) {
		e.Operation, e.Time = "OPERATION", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		if e.Key != "" {
			e.KeyID, e.Digest = "KEYID", "DIGEST"
		}
		raw, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		details = append(details, string(raw))
	}
	got := strings.NewReplacer(b.kekID(t, "a"), "KEK-A", b.kekID(t, "b"), "KEK-B").Replace(strings.Join(details, "\n") + "\n")
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("written is\n%s\nwant\n%s", got, want)
	}
}

func TestParseDetail(t *testing.T) {
	whole := detail{KEKID: "local:1", Expected: "1", RequestID: "r", Pending: true}
	text, err := whole.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseDetail(text); err != nil || got != whole {
		t.Errorf("parseDetail(%s) = %+v, %v", text, got, err)
	}
	// What a later build adds is passed over.
	if got, err := parseDetail(`{"kek_id":"k","expected":"1","request_id":"r","later":[1]}`); err != nil || got.Pending {
		t.Errorf("%+v, %v", got, err)
	}
	for _, s := range []string{
		"", "{}", "[]", "null", `{"kek_id":"k","expected":"1"}`, `{"kek_id":"k","request_id":"r"}`,
		`{"expected":"1","request_id":"r"}`, text + "x", `{"kek_id":1}`,
	} {
		if d, err := parseDetail(s); err == nil {
			t.Errorf("parseDetail(%q) = %+v", s, d)
		}
	}
}

// FuzzParseDetail: whatever stands in the store, it is read as what it says, or refused.
func FuzzParseDetail(f *testing.F) {
	f.Add(`{"kek_id":"local:1","expected":"1","request_id":"r","pending":true}`)
	f.Add(`{"kek_id":"\u0000","expected":"\ud800","request_id":"r"}`)
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDetail(s)
		if err != nil {
			return
		}
		text, err := d.encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseDetail(text); err != nil || again != d {
			t.Errorf("%+v was written as %s and read as %+v, %v", d, text, again, err)
		}
	})
}

// TestLineage: which events make a version of a KEK known.
func TestLineage(t *testing.T) {
	b := newBench(t)
	born := func(version string) history.Event {
		return history.Event{Type: history.Creation, Actor: "x", Details: map[string]string{"kek_id.p": "kek", "kek_version.p": version}}
	}
	rotated := func(t history.Type, kek, version string) history.Event {
		return history.Event{Type: t, Actor: "x", Provider: "p", KEKVersion: version, Details: map[string]string{"kek_id": kek}}
	}
	for i, step := range []struct {
		event history.Event
		last  string
		known []string
		not   []string
	}{
		{rotated(history.KEKRotated, "another", "1"), "", []string{"1", "2"}, nil},
		{born(""), "", []string{"1", "2"}, nil},
		{born("3"), "3", []string{"3"}, []string{"2", "4"}},
		{born("4"), "3", []string{"3"}, []string{"2", "4"}},
		{rotated(history.ProviderAdded, "kek", "5"), "3", []string{"3"}, []string{"5"}},
		{rotated(history.KEKRotatedExternally, "kek", "5"), "5", []string{"3", "5"}, []string{"4"}},
		{rotated(history.KEKRotated, "kek", "6"), "6", []string{"3", "5", "6"}, []string{"4"}},
		{rotated(history.KEKRotatedExternally, "kek", "7"), "7", []string{"3", "5", "6", "7"}, []string{"4"}},
	} {
		if err := b.store.Append(t.Context(), nil, []history.Event{step.event}); err != nil {
			t.Fatal(err)
		}
		check := func(version string, want bool) {
			last, known, err := b.mover.lineage(t.Context(), "kek", version)
			if err != nil || last != step.last || known != want {
				t.Errorf("%d: version %s after %q, known %v, %v", i, version, last, known, err)
			}
		}
		for _, version := range step.known {
			check(version, true)
		}
		for _, version := range step.not {
			check(version, false)
		}
	}
}
