package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// logbook is a log in memory, one entry an event.
type logbook struct {
	entries []store.LogEntry
	hashes  []tlog.Hash
	size    uint64
	pruned  uint64
	root    tlog.Hash
	err     error
	rootErr error
}

func (l *logbook) Log(_ context.Context, f func(store.LogEntry) error) error {
	for _, e := range l.entries {
		if err := f(e); err != nil {
			return err
		}
	}
	return l.err
}

func (l *logbook) Extent(context.Context) (history.Extent, error) {
	return history.Extent{Size: l.size, Root: l.root, Pruned: l.pruned}, l.rootErr
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// written is a log of events that are a minute apart, the last of them at noon.
func written(t *testing.T, events ...history.Event) *logbook {
	t.Helper()
	l := &logbook{}
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, i := range indexes {
			found = append(found, l.hashes[i])
		}
		return found, nil
	})
	for i, e := range events {
		if e.Time.IsZero() {
			e.Time = noon.Add(time.Duration(i+1-len(events)) * time.Minute)
		}
		entry, err := history.Append(uint64(i), e, stored)
		if err != nil {
			t.Fatal(err)
		}
		l.hashes = append(l.hashes, entry.Hashes...)
		l.entries = append(l.entries, store.LogEntry{
			Seq: uint64(i) + 1, Bytes: entry.Bytes, Hashes: entry.Hashes,
			Columns: history.Event{Key: e.Key, Version: e.Version, Type: e.Type, Reason: e.Reason, Actor: e.Actor, Time: e.Time},
		})
	}
	var err error
	l.size = uint64(len(events))
	if l.root, err = history.Root(l.size, stored); err != nil {
		t.Fatal(err)
	}
	return l
}

// four events: two versions of a key.
func four() []history.Event {
	version := func(typ history.Type, n uint32) history.Event {
		return history.Event{Type: typ, Key: "payments", Version: n, Reason: "manual", Actor: "alice@host"}
	}
	return []history.Event{
		version(history.Creation, 1), version(history.Rotation, 1), version(history.Creation, 2), version(history.Rotation, 2),
	}
}

func TestHistory(t *testing.T) {
	const (
		sequence = "ok history.sequence [] 4 events without a gap\n"
		columns  = "ok history.columns [] every event is found by what its bytes say\n"
		clock    = "ok history.clock [] the newest event is of 2026-03-01T12:00:00Z\n"
		find     = "  -> find out who changed the database; RESTORE\n"
		restored = "  -> RESTORE\n"
	)
	fine := written(t, four()...)
	tree := fmt.Sprintf("ok history.tree [] the events make the tree that is stored, root %v\n", fine.root)
	edit := func(from, to string, event int) func(*logbook) {
		return func(l *logbook) {
			e := &l.entries[event-1]
			e.Bytes = []byte(replaceOnce(t, string(e.Bytes), from, to))
		}
	}
	for name, c := range map[string]struct {
		change func(*logbook)
		want   string
	}{
		"in order": {func(*logbook) {}, sequence + tree + columns + clock},
		"dropped": {
			func(l *logbook) { l.entries = append(l.entries[:1:1], l.entries[2:]...) },
			"fail history.sequence [] event 2 is missing: the next one there is 3\n" + find +
				"skipped history.tree [] an event is missing\n" + columns + clock,
		},
		"first dropped": {
			func(l *logbook) { l.entries = l.entries[1:] },
			"fail history.sequence [] event 1 is missing: the next one there is 2\n" + find +
				"skipped history.tree [] an event is missing\n" + columns + clock,
		},
		"tail cut": {
			func(l *logbook) { l.entries = l.entries[:3] },
			"fail history.sequence [] the store counts 4 events, and 3 are there\n" + find +
				"skipped history.tree [] events are missing, or too many\n" + columns +
				"ok history.clock [] the newest event is of 2026-03-01T11:59:00Z\n",
		},
		"edited": {edit("alice", "mallo", 2), sequence +
			"fail history.tree [] the bytes of event 2 do not make the leaf that the tree has: event or tree was edited\n" + find +
			"fail history.columns [] event 2 has another actor than its bytes, so it hides from some who look for it (1 event like this)\n" + find + clock},
		"edited with its leaf": {func(l *logbook) {
			edit("alice", "mallo", 3)(l)
			l.entries[2].Columns.Actor = "mallo@host"
			l.entries[2].Hashes = []tlog.Hash{history.Leaf(l.entries[2].Bytes)}
		}, sequence + "fail history.tree [] the tree was edited: a hash that event 4 completes is not that of the events below it\n" + find + columns + clock},
		"hash lost": {func(l *logbook) { l.entries[0].Hashes, l.rootErr = nil, store.ErrCorrupt }, sequence +
			"fail history.tree [] the store is damaged\n" + restored + columns + clock},
		"root edited": {func(l *logbook) { l.root = tlog.Hash{} }, sequence +
			fmt.Sprintf("fail history.tree [] the events make the root %v, and the tree has %v\n", fine.root, tlog.Hash{}) + find + columns + clock},
		"renumbered": {
			func(l *logbook) { edit(`"seq":4`, `"seq":5`, 4)(l) },
			"fail history.sequence [] the bytes of event 4 have another number\n" + find +
				"fail history.tree [] the bytes of event 4 do not make the leaf that the tree has: event or tree was edited\n" + find + columns + clock,
		},
		"key hidden":     {func(l *logbook) { l.entries[1].Columns.Key = "other" }, sequence + tree + hidden(2, "key") + find + clock},
		"version hidden": {func(l *logbook) { l.entries[1].Columns.Version = 9 }, sequence + tree + hidden(2, "version") + find + clock},
		"type hidden":    {func(l *logbook) { l.entries[1].Columns.Type = history.Usage }, sequence + tree + hidden(2, "type") + find + clock},
		"reason hidden":  {func(l *logbook) { l.entries[1].Columns.Reason = "" }, sequence + tree + hidden(2, "reason") + find + clock},
		"time hidden":    {func(l *logbook) { l.entries[1].Columns.Time = noon }, sequence + tree + hidden(2, "time") + find + clock},
		"no event": {func(l *logbook) { l.entries[2].Bytes = []byte("{") }, sequence +
			"fail history.tree [] the bytes of event 3 do not make the leaf that the tree has: event or tree was edited\n" + find +
			"fail history.columns [] no event can be read in the bytes of event 3\n" + restored + clock},
		"unreadable": {func(l *logbook) { l.err = store.ErrCorrupt }, "fail history.sequence [] the store is damaged\n" + restored},
	} {
		l := written(t, four()...)
		c.change(l)
		findings, _ := History(t.Context(), l, noon, new(Retention))
		expect(t, name, findings, c.want)
	}
}

// TestPrunedHistory: what retention took is no damage, and nothing else passes for it.
func TestPrunedHistory(t *testing.T) {
	const (
		columns = "ok history.columns [] every event is found by what its bytes say\n"
		clock   = "ok history.clock [] the newest event is of 2026-03-01T12:00:00Z\n"
		find    = "  -> find out who changed the database; RESTORE\n"
		kept    = "ok history.sequence [] 5 events without a gap; retention has taken 2 of the first 3, and left their leaves\n"
	)
	pruning := history.Pruning{Through: 3, Total: 2, Before: noon}
	events := append(four(), pruning.Event(2))
	take := func(l *logbook, seqs ...int) {
		for _, seq := range seqs {
			l.entries[seq-1].Bytes, l.entries[seq-1].Columns = nil, history.Event{}
		}
	}
	tree := fmt.Sprintf("ok history.tree [] the events make the tree that is stored, root %v\n", written(t, events...).root)
	for name, c := range map[string]struct {
		change func(*logbook)
		want   string
	}{
		"in order": {func(*logbook) {}, kept + tree + columns + clock},
		"another in its place": { // which were taken shows nowhere; how many were does
			func(l *logbook) { l.entries[1] = written(t, events...).entries[1]; take(l, 1) }, kept + tree + columns + clock,
		},
		"one more": {
			func(l *logbook) { take(l, 2) },
			"fail history.sequence [] 3 events without its bytes, and by the history retention has taken 2\n" + find + tree + columns + clock,
		},
		"one less": {
			func(l *logbook) { l.entries[0] = written(t, events...).entries[0] },
			"fail history.sequence [] 1 event without its bytes, and by the history retention has taken 2\n" + find + tree + columns + clock,
		},
		"limit raised": {
			func(l *logbook) { l.pruned = 4 },
			"fail history.sequence [] the store lets events up to 4 be missing, and by the history retention has come to 3\n" + find + tree + columns + clock,
		},
		"record edited": {
			func(l *logbook) {
				l.entries[4].Bytes = []byte(replaceOnce(t, string(l.entries[4].Bytes), `"total":"2"`, `"total":"3"`))
				take(l, 2)
			},
			"ok history.sequence [] 5 events without a gap; retention has taken 3 of the first 3, and left their leaves\n" +
				"fail history.tree [] the bytes of event 5 do not make the leaf that the tree has: event or tree was edited\n" + find + columns + clock,
		},
		"record gone": {
			func(l *logbook) {
				l.entries[4].Bytes = []byte(replaceOnce(t, string(l.entries[4].Bytes), `"through"`, `"thruogh"`))
			},
			"fail history.sequence [] 2 events without its bytes, and by the history retention has taken 0\n" + find +
				"fail history.tree [] the bytes of event 5 do not make the leaf that the tree has: event or tree was edited\n" + find +
				"fail history.columns [] no event can be read in the bytes of event 5\n  -> RESTORE\n" + clock,
		},
		"leaf edited": {
			func(l *logbook) { l.entries[0].Hashes = []tlog.Hash{{}} }, kept +
				"fail history.tree [] the tree was edited: a hash that event 2 completes is not that of the events below it\n" + find + columns + clock,
		},
		"leaf gone": {
			func(l *logbook) { l.entries[2].Hashes = nil }, kept +
				"fail history.tree [] event 3 was taken by retention, and its leaf is missing\n" + find + columns + clock,
		},
	} {
		l := written(t, events...)
		take(l, 1, 3)
		l.pruned = 3
		c.change(l)
		findings, _ := History(t.Context(), l, noon, new(Retention))
		expect(t, name, findings, c.want)
	}
}

func hidden(event int, column string) string {
	return fmt.Sprintf("fail history.columns [] event %d has another %s than its bytes, so it hides from some who look for it (1 event like this)\n", event, column)
}

// TestNewerEvents: an event that only a newer build can read is no damage.
func TestNewerEvents(t *testing.T) {
	l := written(t, four()...)
	newer := map[string]any{"schema": 2, "seq": 4}
	b, err := json.Marshal(newer)
	if err != nil {
		t.Fatal(err)
	}
	l.entries[3].Bytes = b
	var tree history.Tree
	for i := range l.entries {
		l.entries[i].Hashes = tree.Append(l.entries[i].Bytes)
	}
	l.root = tree.Root()
	findings, _ := History(t.Context(), l, noon, new(Retention))
	expect(t, "newer", findings, fmt.Sprintf(`
ok history.sequence [] 4 events without a gap
ok history.tree [] the events make the tree that is stored, root %v
warn history.columns [] event 4 was written by a newer build, and cannot be compared
  -> use that build or a newer one
ok history.clock [] the newest event is of 2026-03-01T11:59:00Z
`, l.root))
}

func TestClock(t *testing.T) {
	const set = "\n  -> set this machine's clock (e.g. `timedatectl status`): claims and leases expire by it\n"
	at := func(times ...time.Time) *logbook {
		var events []history.Event
		for _, at := range times {
			events = append(events, history.Event{Type: history.Usage, Time: at})
		}
		return written(t, events...)
	}
	for name, c := range map[string]struct {
		log  *logbook
		now  time.Time
		want string
	}{
		"no event":     {at(), noon, "ok history.clock [] there is no event yet\n"},
		"a little off": {at(noon.Add(clockSlack)), noon, "ok history.clock [] the newest event is of 2026-03-01T12:00:05Z\n"},
		"ahead": {
			at(noon.Add(3*time.Hour), noon), noon.Add(time.Hour),
			"fail history.clock [] event 1 is dated 2026-03-01T15:00:00Z, which is 2h0m ahead of this machine's clock" + set,
		},
		"set back": {
			at(noon, noon.Add(2*time.Hour), noon), noon.Add(3 * time.Hour),
			"warn history.clock [] event 3 is dated 2026-03-01T12:00:00Z, which is 2h0m before the one in front of it: the clock was set back" + set,
		},
		"set back a minute": {at(noon, noon.Add(-time.Minute)), noon, "ok history.clock [] the newest event is of 2026-03-01T12:00:00Z\n"},
		"set back long ago": {at(noon, noon.Add(2*time.Hour), noon), noon.Add(recent), "ok history.clock [] the newest event is of 2026-03-01T14:00:00Z\n"},
	} {
		findings, _ := History(t.Context(), c.log, c.now, new(Retention))
		expect(t, name, findings[3:], c.want)
	}
}

// TestLineage: what events say of key-encryption keys reaches whoever compares it.
func TestLineage(t *testing.T) {
	_, lineage := History(t.Context(), written(t,
		history.Event{Type: history.Creation, Details: map[string]string{"kek_id.local": "kek/7", "kek_version.local": "1"}},
		history.Event{Type: history.KEKRotated, Provider: "local", KEKVersion: "2", Details: map[string]string{"kek_id": "kek/7"}},
	), noon, new(Retention))
	for version, want := range map[string]bool{"1": true, "2": true, "3": false} {
		if last, known := lineage.Knows("kek/7", version); last != "2" || known != want {
			t.Errorf("version %s is known: %v, the last one is %s", version, known, last)
		}
	}
	if _, lineage = History(t.Context(), &logbook{err: store.ErrCorrupt}, noon, new(Retention)); lineage != nil {
		t.Error("a log that cannot be read says something of key-encryption keys")
	}
}
