package secret

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrPinned: the key's primary is another version than the one that was asked for.
var ErrPinned = errors.New("not the version that was asked for")

// DefaultBatch is how many values a worker takes at once.
const DefaultBatch = 256

// Rotatable is a [Value] of any type, to be rotated together with others.
type Rotatable interface {
	// Name is what the value is called.
	Name() string
	// Key is the key that it is encrypted under.
	Key() string
	held() *state
}

// RotateOptions say how [Rotate] goes about it. The zero value is ready.
type RotateOptions struct {
	// Workers is how many values are re-encrypted at the same time; as many as there
	// are processors if zero.
	Workers int
	// Batch is how many values a worker takes at once, and how often Progress is
	// called; DefaultBatch if zero.
	Batch int
	// Versions pins keys to the versions that their values are to end under. A value
	// whose key has another primary, then or from some moment on, fails with ErrPinned.
	// The values of other keys go to whatever the primary is, and the report says which. A
	// key that no value is under is most likely misspelled: Rotate refuses it.
	Versions map[string]uint32
	// Progress, if set, is called after each batch, by one worker at a time.
	Progress func(Progress)
}

// Progress is how far a rotation of values is.
type Progress struct {
	// Done are those that were dealt with, of Total; Failed are a part of them. What was
	// not reached before the context ended is in neither.
	Done, Failed, Total int
}

// Rotate re-encrypts values to the primary versions of their keys, several at a time, by
// way of c. A value that fails is as it was, and stops no other. Values may be read all
// the while. The error is the context's; then the report says what was done until then.
// Options that are refused change nothing.
//
// It records nothing; core.Keyrotor.RotateSecureValues does.
func Rotate(ctx context.Context, c Cipher, values []Rotatable, o RotateOptions) (Report, error) {
	if o.Workers < 0 || o.Batch < 0 {
		return Report{}, fmt.Errorf("secret: %d workers and batches of %d: use 1 or more, or 0 for the default", o.Workers, o.Batch)
	}
	if keys := strayPins(values, o.Versions); len(keys) > 0 {
		return Report{}, fmt.Errorf("secret: Versions pins the keys %q, and none of the %d values is under them: leave out or correct these", keys, len(values))
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Batch == 0 {
		o.Batch = DefaultBatch
	}
	o.Batch = min(o.Batch, max(len(values), 1)) // more would overflow the sums below
	j := job{RotateOptions: o, cipher: c, values: values, results: make([]result, len(values)), tally: newTally()}
	var wg sync.WaitGroup
	for range min(o.Workers, (len(values)+o.Batch-1)/o.Batch) {
		wg.Go(func() {
			w := worker{job: &j, tally: newTally()}
			w.work(ctx)
			j.telling.Lock()
			defer j.telling.Unlock()
			j.tally.add(w.tally)
		})
	}
	wg.Wait()
	report := Report{Counts: j.tally.Counts, Keys: j.tally.byKey(), results: j.results}
	if report.Untouched > 0 {
		return report, fmt.Errorf("rotate secret values: %d of %d were not reached: %w", report.Untouched, len(values), context.Cause(ctx))
	}
	return report, nil
}

// strayPins answers the pinned keys that no value is under.
func strayPins(values []Rotatable, pins map[string]uint32) []string {
	left := maps.Clone(pins)
	for _, v := range values {
		if len(left) == 0 { // which is soon: values are many, and keys are few
			break
		}
		if s := stateOf(v); s != nil {
			delete(left, s.key)
		}
	}
	return slices.Sorted(maps.Keys(left))
}

// untouchedError marks what was not reached.
type untouchedError struct{ cause error }

func (e untouchedError) Error() string { return "not reached: " + e.cause.Error() }
func (e untouchedError) Unwrap() error { return e.cause }

func untouched(err error) bool {
	_, ok := err.(untouchedError) //nolint:errorlint // never wrapped
	return ok
}

// job is a rotation under way.
type job struct {
	RotateOptions
	cipher  Cipher
	values  []Rotatable
	results []result // each written by the worker that took it
	next    atomic.Int64

	telling  sync.Mutex // guards what follows
	tally    *tally
	progress Progress // so far
}

// groupSize is how many values a worker takes in hand at once.
const groupSize = 8

// worker is a goroutine of a job.
type worker struct {
	*job
	tally *tally
	spare []byte // the ciphertext that a value gave up holds that of the next: no allocations
	seen  byte   // keeps a compiler from leaving out what is read for the cache's sake
}

// work takes batches until there are none.
func (w *worker) work(ctx context.Context) {
	for {
		end := int(w.next.Add(int64(w.Batch)))
		begin := end - w.Batch
		if begin >= len(w.values) {
			return
		}
		end = min(end, len(w.values))
		before := w.tally.Counts
		for ; begin < end; begin += groupSize {
			w.group(ctx, begin, min(begin+groupSize, end))
		}
		w.tell(before, w.tally.Counts)
	}
}

// group renews the values from begin to end. They lie about in memory, and a processor
// waits for many places as long as for one, but only where no lock is taken in between.
// So all states are fetched at first, then all are locked, then all contents are fetched.
//
// Who holds a lock waits for no other: what cannot be locked at once has its turn after
// the rest, by itself. That is a value which is in the group twice, too.
func (w *worker) group(ctx context.Context, begin, end int) {
	var states [groupSize]*state
	var locked [groupSize]bool
	for i, v := range w.values[begin:end] {
		states[i] = stateOf(v)
	}
	for i, s := range states[:end-begin] {
		locked[i] = s != nil && s.writing.TryLock()
	}
	for i, s := range states {
		if locked[i] {
			w.seen ^= s.fetch()
		}
	}
	for i, s := range states {
		if locked[i] {
			w.one(ctx, s, &w.results[begin+i])
			s.writing.Unlock()
		}
	}
	for i, s := range states[:end-begin] {
		r := &w.results[begin+i]
		r.of = hide(s)
		switch {
		case s == nil:
			r.err = ErrEmpty
		case !locked[i]:
			s.writing.Lock()
			w.one(ctx, s, r)
			s.writing.Unlock()
		}
		w.tally.count(s, r)
	}
}

// stateOf is nil for nothing, a pointer that leads nowhere included.
func stateOf(v Rotatable) *state {
	if p := reflect.ValueOf(v); v == nil || p.Kind() == reflect.Pointer && p.IsNil() {
		return nil
	}
	s := v.held()
	if s == nil || s.aad[0] == 0 { // which no name begins with: it fetches the state and its AAD
		return nil
	}
	return s
}

// one renews a value that is locked.
func (w *worker) one(ctx context.Context, s *state, r *result) {
	if ctx.Err() == nil {
		w.spare = s.renew(ctx, w.cipher, w.Versions, w.spare, r)
		if r.err == nil {
			return
		}
	}
	if ctx.Err() != nil {
		r.err = untouchedError{context.Cause(ctx)}
	}
}

// tell says that a batch is done, which took the counts of its worker from before to now.
func (j *job) tell(before, now Counts) {
	if j.Progress == nil {
		return
	}
	j.telling.Lock()
	defer j.telling.Unlock()
	j.progress.Failed += now.Failed - before.Failed
	j.progress.Done += now.reached() - before.reached()
	j.progress.Total = len(j.values)
	j.Progress(j.progress)
}
