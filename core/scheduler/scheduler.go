// Package scheduler rotates keys when their policies say that it is time.
//
// Any number of processes may run one on the same store, without a leader: each
// checks every key, and the store sees to it that an occasion is served once. The
// loser of a race decides anew and finds nothing to do. What fails is tried again,
// later each time; a policy that panics, or a key manager that hangs, holds up no key
// but its own.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

// DefaultInterval is how often every key is looked at.
const DefaultInterval = time.Minute

// The errors of a scheduler.
var (
	// ErrPolicyExists: there is a policy of that name.
	ErrPolicyExists = errors.New("there is a policy of that name")
	// ErrRunning: the scheduler was started before.
	ErrRunning = errors.New("the scheduler runs already")
	// ErrClosed: the scheduler was closed.
	ErrClosed = errors.New("the scheduler is closed")
)

// Rotation is what a scheduler asks for: a key, and the occasion.
type Rotation struct {
	Key    string
	Due    store.DueSlot
	Reason keyring.Reason
	// Version is the primary that the decision is about; if it is another by now, there
	// is nothing to do.
	Version uint32
}

// Config is what a scheduler works with. Store, Rotate and Owner are required.
type Config struct {
	Store store.Policies
	// Rotate makes a new version and answers its number, see [engine.Engine.RotateDue].
	Rotate func(ctx context.Context, r Rotation) (version uint32, err error)
	// Owner names the process among those that check policies.
	Owner string
	// Interval is DefaultInterval if zero.
	Interval time.Duration
	// Clock is the machine's if nil.
	Clock clockwork.Clock
	// Log is silent if nil.
	Log *slog.Logger
	// OnOutcome, if set, hears of each rotation that was tried. It must not block.
	OnOutcome func(Outcome)
	// Alongside, if set, is what else the process does from Start to Stop, which ends
	// its context and waits for it.
	Alongside func(ctx context.Context)
	// Lead is how long before it is due a rotation is told to OnSoon, if that is set; 0
	// is never. It hears of the same rotation at each check, and must not block.
	Lead   time.Duration
	OnSoon func(Soon)
}

// Outcome is what became of a rotation.
type Outcome struct {
	Rotation
	// New is the version that was made.
	New uint32
	// Err is why there is none, and Retry when it is tried again.
	Err   error
	Retry time.Time
}

// Scheduler checks policies. It is safe for concurrent use.
type Scheduler struct {
	Config
	status status
	// interval is Config's, until it is set anew.
	interval atomic.Int64
	// nudged wakes the loop.
	nudged chan struct{}

	mu       sync.Mutex
	every    []policy.Policy            // policies of all keys
	of       map[string][]policy.Policy // and of one
	names    map[string]bool            // keys to look at before their time
	looking  map[string]bool            // those that are being looked at
	marks    map[string]marks           // uses at which policies speak up, by key
	next     map[string]time.Time       // when each key is due, as far as that is known
	checks   map[policyOf]store.PolicyCheck
	done     map[policyOf]string      // slots that were served, and seem to be due
	again    map[policyOf]rerun       // rotations that changed nothing for their policy
	groups   map[string]chan struct{} // places to rotate in, by the key managers needed
	rotating map[string]bool
	running  *run
	closed   bool
}

// policyOf is one policy of one key.
type policyOf struct{ key, policy string }

// New checks the configuration.
func New(c Config) (*Scheduler, error) {
	if c.Store == nil || c.Rotate == nil || c.Owner == "" {
		return nil, errors.New("scheduler: Store, Rotate and Owner are required")
	}
	if c.Interval < 0 {
		return nil, fmt.Errorf("scheduler: an interval of %s; it must be more than 0", c.Interval)
	}
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnOutcome == nil {
		c.OnOutcome = func(Outcome) {}
	}
	if c.OnSoon == nil {
		c.Lead = 0
	}
	s := &Scheduler{
		Config: c, nudged: make(chan struct{}, 1),
		of: make(map[string][]policy.Policy), names: make(map[string]bool), looking: make(map[string]bool), marks: make(map[string]marks), next: make(map[string]time.Time),
		checks: make(map[policyOf]store.PolicyCheck), done: make(map[policyOf]string), again: make(map[policyOf]rerun), groups: make(map[string]chan struct{}), rotating: make(map[string]bool),
	}
	s.interval.Store(int64(c.Interval))
	return s, nil
}

// Interval is how often every key is looked at.
func (s *Scheduler) Interval() time.Duration { return time.Duration(s.interval.Load()) }

// SetInterval sets how often every key is looked at, from the next check on, which comes
// at once.
func (s *Scheduler) SetInterval(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("scheduler: an interval of %s; it must be more than 0", d)
	}
	s.interval.Store(int64(d))
	s.Nudge("")
	return nil
}

// Add gives a key one more policy, or all keys if key is empty. It counts from the next
// check on, which comes at once. A key's own policy takes the place of one of all keys
// that has the same name. ErrPolicyExists if key has one of that name.
func (s *Scheduler) Add(key string, p policy.Policy) error { return s.Replace(key, nil, p) }

// Remove takes a policy away again, and reports whether it was there.
func (s *Scheduler) Remove(key, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.own(key), named(name)) {
		return false
	}
	s.replace(key, []string{name}, nil)
	return true
}

// Replace takes policies away and adds others, as Remove and Add do, in one step: no check
// sees the key in between. If it fails, nothing is changed.
func (s *Scheduler) Replace(key string, names []string, policies ...policy.Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range policies {
		if p.Name() == "" || p.Name() == (policy.HardLimit{}).Name() {
			return fmt.Errorf("scheduler: a policy cannot be named %q", p.Name())
		}
		there := !slices.Contains(names, p.Name()) && slices.ContainsFunc(s.own(key), named(p.Name()))
		if there || slices.ContainsFunc(policies[:i], named(p.Name())) {
			return fmt.Errorf("%w: %q: remove it first", ErrPolicyExists, p.Name())
		}
	}
	s.replace(key, names, policies)
	return nil
}

// own are the policies that were added for a key, or for all if key is empty.
func (s *Scheduler) own(key string) []policy.Policy {
	if key == "" {
		return s.every
	}
	return s.of[key]
}

// replace is Replace without a check. The caller holds mu.
func (s *Scheduler) replace(key string, names []string, policies []policy.Policy) {
	gone := func(p policy.Policy) bool { return slices.Contains(names, p.Name()) }
	list := append(slices.DeleteFunc(slices.Clone(s.own(key)), gone), policies...)
	if key == "" {
		s.every = list
	} else {
		s.of[key] = list
	}
	// Another one of that name is not held for what this one did.
	maps.DeleteFunc(s.again, func(id policyOf, _ rerun) bool {
		return slices.Contains(names, id.policy) && (key == "" || id.key == key)
	})
	s.wake(key)
}

func named(name string) func(policy.Policy) bool {
	return func(p policy.Policy) bool { return p.Name() == name }
}

// Policies answers those of a key, the ones of all keys and the built-in one included.
func (s *Scheduler) Policies(key string) []policy.Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policies(key)
}

// policies is Policies with mu held. The built-in one comes first: a key near its hard
// limit is rotated whatever its owner wants.
func (s *Scheduler) policies(key string) []policy.Policy {
	own := s.of[key]
	policies := append(make([]policy.Policy, 0, 1+len(s.every)+len(own)), policy.HardLimit{})
	for _, p := range s.every {
		if !slices.ContainsFunc(own, named(p.Name())) {
			policies = append(policies, p)
		}
	}
	return append(policies, own...)
}

// Nudge has a key looked at soon, because it was used much, or changed, or every key if
// it is empty. It does not block, and does nothing unless the scheduler runs.
func (s *Scheduler) Nudge(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.wake(key)
	}
}

// wake has a key looked at, or every one if it is empty. The caller holds mu.
func (s *Scheduler) wake(key string) {
	s.names[key] = true
	s.signal()
}

// signal has the loop look at what there is to do.
func (s *Scheduler) signal() {
	select {
	case s.nudged <- struct{}{}:
	default:
	}
}

// Rotating reports whether a rotation of the key is under way here, or may begin with
// the look that is being taken.
func (s *Scheduler) Rotating(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.comes(key)
}

// comes is Rotating with mu held.
func (s *Scheduler) comes(key string) bool {
	return s.running != nil && (s.rotating[key] || s.names[key] || s.looking[key])
}

// waiting takes the names that were nudged. all: every key is to be looked at.
func (s *Scheduler) waiting() (names []string, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all = s.names[""]
	names = slices.Sorted(maps.Keys(s.names))
	s.names, s.looking = make(map[string]bool), s.names
	return names, all
}

// endLook: those that were due among them are being rotated by now.
func (s *Scheduler) endLook() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.looking)
}
