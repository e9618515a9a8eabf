package history

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Retention takes the bytes of old events out of a store. Their leaves stay, so the
// root and every proof are what they were. What went is on record: in the same
// transaction, an event of type Pruned says how far that went and how much there was
// in all, so that one event more or less shows.

// Keeper says which events stay, however old they are, because something is built upon
// them. It is given them in the order of the log, from the oldest one that is left. The
// newest event of each key stays as well, which is for the store to see to.
type Keeper struct {
	// keks are those that an event was seen to name.
	keks map[string]bool
	// outages are the events that tell of the beginning of one, by operation.
	outages map[string]Event
}

// Keeps reports whether an event stays.
func (k *Keeper) Keeps(e Event) bool {
	switch e.Type { // the others tell only what was
	case DestroyScheduled, Destroyed, // the waiting period, and the receipt
		Restored,                         // whether the key waits for its recovery
		KEKRotated, KEKRotatedExternally, // which versions of a KEK are known
		SigningKeyChanged: // whom to trust
		return true
	case Degraded: // it may last; see Ended
		if k.outages == nil {
			k.outages = make(map[string]Event)
		}
		k.outages[e.Operation] = e
		return true
	case Creation, ProviderAdded:
		// The salt of a root that came from a passphrase is nowhere else.
		return k.meets(e) || e.Details["kdf.salt"] != ""
	default:
		return false
	}
}

// Ended answers the event that stayed for as long as this one was not there: the beginning
// of an outage, for its end. It may go with it.
func (k *Keeper) Ended(e Event) (begun Event, ok bool) {
	if e.Type != Recovered {
		return Event{}, false
	}
	begun, ok = k.outages[e.Operation]
	delete(k.outages, e.Operation)
	return begun, ok
}

// meets reports whether the event is the first to name a key-encryption key: what that
// one's version was then is the beginning of its lineage.
func (k *Keeper) meets(e Event) bool {
	first := false
	for id := range e.KEKs() {
		if !k.keks[id] {
			if k.keks == nil {
				k.keks = make(map[string]bool)
			}
			k.keks[id], first = true, true
		}
	}
	return first
}

// KEKs answers which version of which key-encryption keys the event names, by their ids.
func (e Event) KEKs() map[string]string {
	versions := make(map[string]string)
	note := func(id, version string) {
		if id != "" && version != "" {
			versions[id] = version
		}
	}
	for name, id := range e.Details {
		if p, ok := strings.CutPrefix(name, "kek_id."); ok {
			note(id, e.Details["kek_version."+p])
		}
	}
	note(e.Details["kek_id"], e.KEKVersion)
	return versions
}

// The details of an event of type Pruned. The names are final; the event's Count says
// how many events went with it.
const (
	detailThrough = "through"
	detailTotal   = "total"
	detailBefore  = "before"
)

// Pruning is what retention has done to a log so far.
type Pruning struct {
	// Through is the highest number up to which events may be missing.
	Through uint64
	// Total is how many are.
	Total uint64
	// Before is the time that the last of them were older than.
	Before time.Time
}

// Next is the pruning after one that took out n more events, the last of them with the
// number through.
func (p Pruning) Next(through, n uint64, before time.Time) Pruning {
	return Pruning{Through: max(p.Through, through), Total: p.Total + n, Before: before}
}

// Event is the one that goes into the log when n events go out of it.
func (p Pruning) Event(n uint64) Event {
	return Event{Type: Pruned, Count: n, Details: map[string]string{
		detailThrough: strconv.FormatUint(p.Through, 10), detailTotal: strconv.FormatUint(p.Total, 10),
		detailBefore: p.Before.UTC().Format(time.RFC3339Nano),
	}}
}

// ReadPruning reads an event of type Pruned.
func ReadPruning(e Event) (p Pruning, err error) {
	var throughErr, totalErr, beforeErr error
	p.Through, throughErr = strconv.ParseUint(e.Details[detailThrough], 10, 64)
	p.Total, totalErr = strconv.ParseUint(e.Details[detailTotal], 10, 64)
	p.Before, beforeErr = time.Parse(time.RFC3339Nano, e.Details[detailBefore])
	if e.Type != Pruned {
		return Pruning{}, fmt.Errorf("history: event %d is of type %s, not %s", e.Seq, e.Type, Pruned)
	}
	if err := cmp.Or(throughErr, totalErr, beforeErr); err != nil {
		return Pruning{}, fmt.Errorf("history: event %d does not say what was pruned: %w", e.Seq, err)
	}
	return p, nil
}
