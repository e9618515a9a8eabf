package rewrap

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// The names of details in this package's events; they are final. The creation of a
// version has those of package rotation.
const (
	detailKEKID    = "kek_id"
	detailPrevious = "previous"
	detailWrapWith = "wrap_with"
)

// lineage looks whether the history knows a version of a KEK as its primary: by the
// event that made it one, or because it is the first that was ever seen. last is the
// newest primary that the history knows, empty if it knows none.
func (m *Mover) lineage(ctx context.Context, kekID, version string) (last string, known bool, err error) {
	rotations, err := m.mentions(ctx, kekID, history.KEKRotated, history.KEKRotatedExternally)
	if err != nil {
		return "", false, err
	}
	if len(rotations) > 0 {
		last = rotations[0].version
		if slices.ContainsFunc(rotations, func(r mention) bool { return r.version == version }) {
			return last, true, nil
		}
	}
	// Versions that are born under a KEK tell what its primary was at first. Only the
	// oldest counts: a key that was rotated after the KEK was does not record that.
	births, err := m.mentions(ctx, kekID, history.Creation, history.ProviderAdded)
	if err != nil {
		return "", false, err
	}
	if len(births) == 0 {
		return last, last == "", nil
	}
	first := births[len(births)-1].version
	return cmp.Or(last, first), first == version, nil
}

// mention is an event that names a version of a KEK.
type mention struct {
	seq     uint64
	version string
}

// mentions lists the events of these types that name a version of a KEK, newest first.
func (m *Mover) mentions(ctx context.Context, kekID string, types ...history.Type) ([]mention, error) {
	var found []mention
	for _, t := range types {
		err := m.walk(ctx, history.Query{Type: t}, func(e history.Event) {
			if version := kekVersionOf(e, kekID); version != "" {
				found = append(found, mention{e.Seq, version})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b mention) int { return cmp.Compare(b.seq, a.seq) })
	return found, nil
}

// kekVersionOf answers which version of a KEK an event names, if it names one.
func kekVersionOf(e history.Event, kekID string) string {
	if e.Details[detailKEKID] == kekID {
		return e.KEKVersion
	}
	for name, id := range e.Details {
		if p, ok := strings.CutPrefix(name, "kek_id."); ok && id == kekID {
			return e.Details["kek_version."+p]
		}
	}
	return ""
}

// walk reads all events that a query selects, newest first.
func (m *Mover) walk(ctx context.Context, q history.Query, f func(history.Event)) error {
	q.Limit = store.MaxEvents
	for {
		page, err := m.Store.Events(ctx, q)
		if err != nil {
			return err
		}
		for _, raw := range page.Events {
			e, err := history.Decode(raw)
			if err != nil {
				return err
			}
			f(e)
		}
		if page.Next == 0 {
			return nil
		}
		q.Before = page.Next
	}
}
