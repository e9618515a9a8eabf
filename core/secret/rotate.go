package secret

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
	// The values of other keys go to whatever the primary is, and the report says which.
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

// Outcome is what became of a value.
type Outcome struct {
	Name string
	Key  string
	// From and To are the versions before and now; equal if it was not changed, and
	// zero if the version is not known.
	From, To uint32
	Changed  bool
	// Err is why the value is as it was, if it should not be.
	Err error
}

// Report says what became of each value.
type Report struct {
	// Outcomes are in the order of the values.
	Outcomes []Outcome
	// Changed are under another version now. Unchanged were there before, or have no
	// ciphertext. Failed are as they were: who could read them still can. Untouched were
	// not reached before the context ended.
	Changed, Unchanged, Failed, Untouched int
}

// Rotate re-encrypts values to the primary versions of their keys, several at a time, by
// way of c. A value that fails is as it was, and stops no other. Values may be read all
// the while. The error is the context's; then the report says what was done until then.
//
// It records nothing; core.Keyrotor.RotateSecureValues does.
func Rotate(ctx context.Context, c Cipher, values []Rotatable, o RotateOptions) (Report, error) {
	if o.Workers < 0 || o.Batch < 0 {
		return Report{}, fmt.Errorf("secret: %d workers and batches of %d: use 1 or more, or 0 for the default", o.Workers, o.Batch)
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Batch == 0 {
		o.Batch = DefaultBatch
	}
	o.Batch = min(o.Batch, max(len(values), 1)) // more would overflow the sums below
	j := job{RotateOptions: o, cipher: c, values: values, outcomes: make([]Outcome, len(values))}
	var wg sync.WaitGroup
	for range min(o.Workers, (len(values)+o.Batch-1)/o.Batch) {
		wg.Go(func() { j.work(ctx) })
	}
	wg.Wait()
	report := Report{Outcomes: j.outcomes}
	for i := range j.outcomes {
		report.count(&j.outcomes[i])
	}
	if report.Untouched > 0 {
		return report, fmt.Errorf("rotate secret values: %d of %d were not reached: %w", report.Untouched, len(values), context.Cause(ctx))
	}
	return report, nil
}

// untouchedError marks what was not reached.
type untouchedError struct{ cause error }

func (e untouchedError) Error() string { return "not reached: " + e.cause.Error() }
func (e untouchedError) Unwrap() error { return e.cause }

// Untouched reports whether the value was not reached before the context ended.
func (o *Outcome) Untouched() bool {
	_, ok := o.Err.(untouchedError) //nolint:errorlint // never wrapped
	return ok
}

func (r *Report) count(out *Outcome) {
	switch {
	case out.Untouched():
		r.Untouched++
	case out.Err != nil:
		r.Failed++
	case out.Changed:
		r.Changed++
	default:
		r.Unchanged++
	}
}

// job is a rotation under way.
type job struct {
	RotateOptions
	cipher   Cipher
	values   []Rotatable
	outcomes []Outcome // each written by the worker that took it
	next     atomic.Int64
	telling  sync.Mutex
	progress Progress // so far
}

// work takes batches until there are none. The buffer of the ciphertext that one value
// gives up holds that of the next, so that a rotation allocates next to nothing.
func (j *job) work(ctx context.Context) {
	var spare []byte
	states := make([]*state, min(j.Batch, len(j.values)))
	for {
		end := int(j.next.Add(int64(j.Batch)))
		begin := end - j.Batch
		if begin >= len(j.values) {
			return
		}
		values, outcomes := j.values[begin:min(end, len(j.values))], j.outcomes[begin:min(end, len(j.values))]
		// All of them at first: they lie about in memory, and a processor waits for many
		// places as long as for one.
		for i, v := range values {
			states[i] = stateOf(v)
		}
		for i, s := range states[:len(values)] {
			spare = j.one(ctx, s, spare, &outcomes[i])
		}
		j.tell(outcomes)
	}
}

// stateOf is nil for nothing.
func stateOf(v Rotatable) *state {
	if v == nil {
		return nil
	}
	s := v.held()
	if s == nil || s.name == "" { // which has no value, and fetches the state
		return nil
	}
	return s
}

// one renews a value, and answers the buffer that is free afterwards.
func (j *job) one(ctx context.Context, s *state, spare []byte, out *Outcome) []byte {
	switch {
	case s == nil:
		out.Err = ErrEmpty
		return spare
	case ctx.Err() != nil:
		out.Name, out.Key, out.Err = s.name, s.key, untouchedError{context.Cause(ctx)}
		return spare
	}
	spare = s.renew(ctx, j.cipher, j.Versions, spare, out)
	if out.Err != nil && ctx.Err() != nil {
		out.Err = untouchedError{context.Cause(ctx)}
	}
	return spare
}

func (j *job) tell(batch []Outcome) {
	if j.Progress == nil {
		return
	}
	var done, failed int
	for i := range batch {
		if batch[i].Untouched() {
			continue
		}
		done++
		if batch[i].Err != nil {
			failed++
		}
	}
	j.telling.Lock()
	defer j.telling.Unlock()
	j.progress.Done += done
	j.progress.Failed += failed
	j.progress.Total = len(j.values)
	j.Progress(j.progress)
}
