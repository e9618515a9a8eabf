package rewrap

import (
	"cmp"
	"context"
	"slices"

	"github.com/keyrotor/keyrotor/core/history"
)

// The names of details in this package's events; they are final. The creation of a
// version has those of package rotation, a changed setting those of any setting.
const (
	detailKEKID       = "kek_id"
	detailPrevious    = "previous"
	detailWrapWithOld = "wrap_with.old"
	detailWrapWithNew = "wrap_with.new"
)

// Lineage is what a history says of KEKs: which of their versions became primary. The
// zero Lineage is that of an empty history; events may be added in any order.
type Lineage struct {
	// rotations are by KEK, births the oldest mention by a version that was wrapped.
	rotations map[string][]mention
	births    map[string]mention
}

// mention is an event that names a version of a KEK.
type mention struct {
	seq     uint64
	version string
}

// Add takes in an event.
func (l *Lineage) Add(e history.Event) {
	for kekID, version := range e.KEKs() {
		now := mention{e.Seq, version}
		switch e.Type { //nolint:exhaustive // the others tell nothing of a KEK
		case history.KEKRotated, history.KEKRotatedExternally:
			if l.rotations == nil {
				l.rotations = make(map[string][]mention)
			}
			l.rotations[kekID] = append(l.rotations[kekID], now)
		case history.Creation, history.ProviderAdded:
			if l.births == nil {
				l.births = make(map[string]mention)
			}
			if first, ok := l.births[kekID]; !ok || now.seq < first.seq {
				l.births[kekID] = now
			}
		}
	}
}

// Knows looks whether the history knows a version of a KEK as its primary: by the
// event that made it one, or because it is the first that was ever seen. last is the
// newest primary that the history knows, empty if it knows none.
func (l *Lineage) Knows(kekID, version string) (last string, known bool) {
	rotations := l.rotations[kekID]
	if len(rotations) > 0 {
		last = slices.MaxFunc(rotations, func(a, b mention) int { return cmp.Compare(a.seq, b.seq) }).version
		if slices.ContainsFunc(rotations, func(r mention) bool { return r.version == version }) {
			return last, true
		}
	}
	// Versions that are born under a KEK tell what its primary was at first. Only the
	// oldest counts: a key that was rotated after the KEK was does not record that.
	first, ok := l.births[kekID]
	if !ok {
		return last, last == ""
	}
	return cmp.Or(last, first.version), first.version == version
}

// lineage is Lineage.Knows of the store's history. The births are read only if the
// rotations do not tell.
func (m *Mover) lineage(ctx context.Context, kekID, version string) (last string, known bool, err error) {
	var l Lineage
	for _, types := range [][]history.Type{{history.KEKRotated, history.KEKRotatedExternally}, {history.Creation, history.ProviderAdded}} {
		for _, t := range types {
			if err := history.Walk(ctx, m.Store.Events, history.Query{Type: t}, l.Add); err != nil {
				return "", false, err
			}
		}
		if last, known = l.Knows(kekID, version); known && last != "" {
			break
		}
	}
	return last, known, nil
}
