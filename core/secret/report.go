package secret

import (
	"iter"
	"maps"
	"slices"
)

// Outcome is what became of a value.
type Outcome struct {
	Name string
	Key  string
	// From and To are the versions before and now; equal if it was not changed, and
	// zero if the version is not known.
	From, To uint32
	// Err is why the value is as it was, if it should not be.
	Err error
}

// Changed reports whether the value is under another version than before.
func (o Outcome) Changed() bool { return o.From != o.To }

// Untouched reports whether the value was not reached before the context ended.
func (o Outcome) Untouched() bool { return untouched(o.Err) }

// Counts say how many values came to what.
type Counts struct {
	// Changed are under another version now. Unchanged were there before, or have no
	// ciphertext. Failed are as they were: who could read them still can. Untouched were
	// not reached before the context ended.
	Changed, Unchanged, Failed, Untouched int
}

func (c *Counts) count(r *result) {
	switch {
	case r.err == nil && r.from != r.to:
		c.Changed++
	case r.err == nil:
		c.Unchanged++
	case untouched(r.err):
		c.Untouched++
	default:
		c.Failed++
	}
}

// reached are those that were dealt with.
func (c *Counts) reached() int { return c.Changed + c.Unchanged + c.Failed }

func (c *Counts) add(o Counts) {
	c.Changed += o.Changed
	c.Unchanged += o.Unchanged
	c.Failed += o.Failed
	c.Untouched += o.Untouched
}

// KeyCounts are those of the values of one key.
type KeyCounts struct {
	Counts
	// From and To are the versions that the changed ones were under, and are under now,
	// ascending.
	From, To []uint32
}

// Report says what became of each value.
type Report struct {
	// Counts are of all values.
	Counts
	// Keys are the counts of each key. A value without one is not in them.
	Keys map[string]KeyCounts

	results []result
}

// result is what an Outcome is made of. There is one for each of very many values.
type result struct {
	of       hidden // the value
	from, to uint32
	err      error
}

// Outcome is what became of the value with index i.
func (r Report) Outcome(i int) Outcome {
	out := Outcome{From: r.results[i].from, To: r.results[i].to, Err: r.results[i].err}
	if s := r.results[i].of.state(); s != nil {
		out.Name, out.Key = s.name(), s.key
	}
	return out
}

// All are the outcomes in the order of the values, with their indices.
func (r Report) All() iter.Seq2[int, Outcome] {
	return func(yield func(int, Outcome) bool) {
		for i := range r.results {
			if !yield(i, r.Outcome(i)) {
				return
			}
		}
	}
}

// tally counts the values of each key.
type tally struct {
	Counts
	keys map[string]*keyTally
	// last and key spare the lookup, since values come in runs of one key.
	last *keyTally
	key  string
}

func newTally() *tally { return &tally{keys: make(map[string]*keyTally)} }

// keyTally has the versions as sets. from and to are those that were added last.
type keyTally struct {
	Counts
	froms, tos map[uint32]bool
	from, to   uint32
}

func (t *tally) count(s *state, r *result) {
	t.Counts.count(r)
	if s == nil || s.key == "" {
		return
	}
	k := t.of(s.key)
	k.count(r)
	if r.from != r.to {
		k.changed(r.from, r.to)
	}
}

// of is the tally of a key.
func (t *tally) of(key string) *keyTally {
	if t.last != nil && t.key == key {
		return t.last
	}
	k := t.keys[key]
	if k == nil {
		k = &keyTally{froms: make(map[uint32]bool), tos: make(map[uint32]bool)}
		t.keys[key] = k
	}
	t.last, t.key = k, key
	return k
}

func (k *keyTally) changed(from, to uint32) {
	if k.from != from {
		k.froms[from], k.from = true, from
	}
	if k.to != to {
		k.tos[to], k.to = true, to
	}
}

// add adds what another worker counted.
func (t *tally) add(o *tally) {
	t.Counts.add(o.Counts)
	for key, theirs := range o.keys {
		k := t.of(key)
		k.add(theirs.Counts)
		maps.Copy(k.froms, theirs.froms)
		maps.Copy(k.tos, theirs.tos)
	}
}

func (t *tally) byKey() map[string]KeyCounts {
	keys := make(map[string]KeyCounts, len(t.keys))
	for key, k := range t.keys {
		keys[key] = KeyCounts{Counts: k.Counts, From: slices.Sorted(maps.Keys(k.froms)), To: slices.Sorted(maps.Keys(k.tos))}
	}
	return keys
}
