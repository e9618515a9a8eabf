package history

import (
	"maps"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// TestKeeper: every type is one that something is built upon, or is not.
func TestKeeper(t *testing.T) {
	built := map[Type]bool{
		DestroyScheduled: true, Destroyed: true, Restored: true, KEKRotated: true, KEKRotatedExternally: true, SigningKeyChanged: true,
		Degraded: true,
	}
	var k Keeper
	for _, typ := range Types() {
		if got := k.Keeps(Event{Type: typ}); got != built[typ] {
			t.Errorf("an event of type %s stays: %v, want %v", typ, got, built[typ])
		}
	}
	for i, c := range []struct {
		event Event
		want  bool
	}{
		{Event{Type: Rotation, Details: map[string]string{"kek_id.local": "a", "kek_version.local": "1"}}, false},
		{Event{Type: Creation, Details: map[string]string{"kek_id.local": "a", "kek_version.local": "1"}}, true},
		{Event{Type: Creation, Details: map[string]string{"kek_id.local": "a", "kek_version.local": "2"}}, false},
		{Event{Type: Creation, Details: map[string]string{"kek_id.local": "a", "kek_version.local": "2", "kek_id.dr": "b", "kek_version.dr": "1"}}, true},
		{Event{Type: ProviderAdded, KEKVersion: "7", Details: map[string]string{"kek_id": "c"}}, true},
		{Event{Type: ProviderAdded, KEKVersion: "8", Details: map[string]string{"kek_id": "c"}}, false},
		{Event{Type: Creation, Details: map[string]string{"kek_id.gcp": "d"}}, false}, // it names no version
		{Event{Type: Creation, Details: map[string]string{"kek_id.gcp": "d", "kek_version.gcp": "1"}}, true},
		{Event{Type: Creation, Details: map[string]string{"kek_id.gcp": "d", "kek_version.gcp": "1", "kdf": "argon2id", "kdf.salt": "00"}}, true},
	} {
		if got := k.Keeps(c.event); got != c.want {
			t.Errorf("event %d stays: %v, want %v", i, got, c.want)
		}
	}
}

// TestKeeperOutages: each beginning of an outage is let go by its own end, once.
func TestKeeperOutages(t *testing.T) {
	var k Keeper
	for seq, operation := range []string{"a", "b"} {
		k.Keeps(Event{Type: Degraded, Operation: operation, Seq: uint64(seq + 1)})
	}
	for i, c := range []struct {
		event Event
		want  uint64
	}{
		{Event{Type: Recovered, Operation: "c"}, 0},
		{Event{Type: Rotation, Operation: "b"}, 0},
		{Event{Type: Recovered, Operation: "b"}, 2},
		{Event{Type: Recovered, Operation: "b"}, 0},
		{Event{Type: Recovered, Operation: "a"}, 1},
	} {
		if begun, ok := k.Ended(c.event); begun.Seq != c.want || ok != (c.want > 0) {
			t.Errorf("%d lets event %d go, %v; want %d", i, begun.Seq, ok, c.want)
		}
	}
}

func TestKEKs(t *testing.T) {
	e := Event{KEKVersion: "7", Details: map[string]string{
		"kek_id": "a", "kek_id.dr": "b", "kek_version.dr": "1", "kek_id.gcp": "c", "kek_version.local": "9", "due": "never",
	}}
	if got, want := e.KEKs(), map[string]string{"a": "7", "b": "1"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPruning(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 5, time.FixedZone("", 3600))
	p := Pruning{Through: 10, Total: 4}.Next(7, 3, at)
	if p.Through != 10 || p.Total != 7 {
		t.Errorf("after one below: %+v", p)
	}
	e := p.Next(12, 2, at).Event(2)
	again, err := ReadPruning(e)
	if err != nil || again.Through != 12 || again.Total != 9 || !again.Before.Equal(at) || e.Count != 2 || e.Type != Pruned {
		t.Errorf("%+v says %+v, %v", e, again, err)
	}
	for name, change := range map[string]func(*Event){
		"type":    func(e *Event) { e.Type = ConfigChange },
		"through": func(e *Event) { e.Details["through"] = "-1" },
		"total":   func(e *Event) { delete(e.Details, "total") },
		"before":  func(e *Event) { e.Details["before"] = "yesterday" },
	} {
		e := p.Event(1)
		e.Seq = 42
		change(&e)
		if _, err := ReadPruning(e); err == nil || !strings.Contains(err.Error(), "event 42") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRecord: a proof holds for its event, for what is left of it, and for no other.
func TestRecord(t *testing.T) {
	var log memory
	for range 7 {
		log.append(t, Event{Type: Usage})
	}
	proof, err := tlog.ProveRecord(7, 2, &log)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Seq: 3, Bytes: log.entries[2].Bytes, Leaf: log.entries[2].Leaf(), Size: 7, Root: merkle(log.entries), Proof: proof}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(*Record)
		want   string
	}{
		"pruned":       {func(r *Record) { r.Bytes = nil }, ""},
		"edited":       {func(r *Record) { r.Bytes = []byte(`{}`) }, "do not make the leaf"},
		"another leaf": {func(r *Record) { r.Bytes, r.Leaf = nil, tlog.Hash{} }, "is no part of the log"},
		"another root": {func(r *Record) { r.Root = tlog.Hash{} }, "is no part of the log with 7 events"},
		"another seq":  {func(r *Record) { r.Seq = 4 }, "event 4 is no part"},
		"no event":     {func(r *Record) { r.Seq = 0 }, "event 0 is no part"},
		"no proof":     {func(r *Record) { r.Proof = nil }, "is no part of the log"},
	} {
		r := r
		c.change(&r)
		err := r.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzReadPruning: what is read is what is written again.
func FuzzReadPruning(f *testing.F) {
	f.Add("3", "2", "2026-03-01T12:00:00Z")
	f.Add("18446744073709551615", "0", "0000-01-01T00:00:00.999999999+23:59")
	f.Fuzz(func(t *testing.T, through, total, before string) {
		p, err := ReadPruning(Event{Type: Pruned, Details: map[string]string{"through": through, "total": total, "before": before}})
		if err != nil || p.Before.UTC().Year() < 0 || p.Before.UTC().Year() > 9999 {
			return
		}
		again, err := ReadPruning(p.Event(1))
		if err != nil || again.Through != p.Through || again.Total != p.Total || !again.Before.Equal(p.Before) {
			t.Fatalf("%+v was written as %+v, %v", p, again, err)
		}
	})
}
