package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Topic is that of a notifier's subscribers in the store.
const Topic = "notify"

const (
	// DefaultTimeout is how long one try to send may take.
	DefaultTimeout = 10 * time.Second
	// MaxTimeout is the most that can be asked for: a try must end before another process
	// may take over.
	MaxTimeout = 30 * time.Second
	// DefaultGiveUp is how long a notice is tried.
	DefaultGiveUp = 7 * 24 * time.Hour
)

// The errors of a notifier.
var (
	// ErrRunning: the notifier was started before.
	ErrRunning = errors.New("the notifier runs already")
	// ErrUnknownTarget: there is no target of that name.
	ErrUnknownTarget = errors.New("no such target")
)

// Handler is a Go function that hears of notices.
type Handler func(ctx context.Context, n Notice)

// Message is what a target gets.
type Message struct {
	ID     string
	Notice Notice
	// Body is the CloudEvent, in JSON. It is the same at each try.
	Body []byte
}

// Sender takes messages to a target. A nil error means delivered. Send returns when ctx
// ends, as whatever it waits for must: nobody takes the message away from one that goes on,
// so its target gets nothing more from this process until it returns. Another process takes
// over after a minute; Stop names the target, and leaves it behind.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// Target is where messages go.
type Target struct {
	// Name is that of the subscriber, and stays the same over restarts.
	Name string
	// Types and Keys are what it wants; nil is all. In a key, * stands for any part.
	Types  []Type
	Keys   []string
	Sender Sender
	// Timeout is DefaultTimeout and GiveUp DefaultGiveUp if zero.
	Timeout, GiveUp time.Duration
}

// Config is what a notifier works with. Store, StoreID and Owner are required.
type Config struct {
	Store   store.Outbox
	StoreID keyring.StoreID
	// Owner names the process, best as [rotation.CurrentOwner] does: then another one on
	// the machine sees when it is gone, and need not wait.
	Owner   string
	Targets []Target
	// Clock is the machine's if nil.
	Clock clockwork.Clock
	// Log is silent if nil.
	Log *slog.Logger
}

// Notifier delivers notices. It is safe for concurrent use.
type Notifier struct {
	Config
	targets []*target
	// nudged wakes the look at the feed.
	nudged chan struct{}

	mu       sync.Mutex
	handlers []*handler
	running  *run
}

// New checks the configuration. It asks nothing of the store.
func New(c Config) (*Notifier, error) {
	if c.Store == nil || c.StoreID == (keyring.StoreID{}) || c.Owner == "" {
		return nil, errors.New("notify: Store, StoreID and Owner are required")
	}
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{Config: c, nudged: make(chan struct{}, 1)}
	for i, t := range c.Targets {
		if slices.ContainsFunc(c.Targets[:i], func(other Target) bool { return other.Name == t.Name }) {
			return nil, fmt.Errorf("notify: two targets are named %q: give each a name of its own", t.Name)
		}
		if err := t.check(); err != nil {
			return nil, err
		}
		n.targets = append(n.targets, newTarget(n, t))
	}
	return n, nil
}

// check refuses what could not work.
func (t *Target) check() error {
	if t.Name == "" || t.Sender == nil {
		return errors.New("notify: a target needs a Name and a Sender")
	}
	for _, typ := range t.Types {
		if !typ.Valid() {
			return fmt.Errorf("notify: target %q: there is no type %q: use some of %q", t.Name, typ, Types())
		}
	}
	for _, key := range t.Keys {
		if err := CheckKey(key); err != nil {
			return fmt.Errorf("notify: target %q: %w", t.Name, err)
		}
	}
	if t.Timeout == 0 {
		t.Timeout = DefaultTimeout
	}
	if t.Timeout < 0 || t.Timeout > MaxTimeout {
		return fmt.Errorf("notify: target %q: a timeout of %s: it must be more than 0 and at most %s", t.Name, t.Timeout, MaxTimeout)
	}
	if t.GiveUp == 0 {
		t.GiveUp = DefaultGiveUp
	}
	if t.GiveUp < 0 {
		return fmt.Errorf("notify: target %q: given up after %s: it must be more than 0", t.Name, t.GiveUp)
	}
	return nil
}

// Wants reports whether a notice is for the target.
func (t *Target) Wants(n Notice) bool {
	return (t.Types == nil || slices.Contains(t.Types, n.Type)) && (t.Keys == nil || n.concerns(t.Keys))
}

// Subscribe makes the targets known to the store. From then on each gets whatever is
// committed, by any process, whether a notifier runs or not. It costs a read if they are
// known.
func (n *Notifier) Subscribe(ctx context.Context) error {
	if len(n.targets) == 0 {
		return nil
	}
	names := make([]string, len(n.targets))
	for i, t := range n.targets {
		names[i] = t.Name
	}
	return n.Store.Subscribe(ctx, Topic, names...)
}

// Nudge has the notifier look at the feed now: this process committed something. It does
// not block, and does nothing unless the notifier runs.
func (n *Notifier) Nudge() {
	select {
	case n.nudged <- struct{}{}:
	default:
	}
}

// Tell adds a notice: something that is worth telling and is no event of the history. The
// id names the occasion; whoever tells it first is heard, and later ones are passed over.
// The event's Type is one of those of notices that nothing in the history stands behind,
// such as [RotationDueSoon], and its Time, if zero, is now.
func (n *Notifier) Tell(ctx context.Context, id string, e history.Event) error {
	if id == "" {
		return errors.New("notify: a notice needs an id that names its occasion")
	}
	if !slices.Contains(raised(), Type(e.Type)) {
		return fmt.Errorf("notify: notice %q: %q is no type to tell: use one of %q", id, e.Type, raised())
	}
	if e.Time.IsZero() {
		e.Time = n.Clock.Now()
	}
	e.Seq = 0
	b, err := e.Encode()
	if err != nil {
		return fmt.Errorf("notify: notice %q: %w", id, err)
	}
	if err := n.Store.Notify(ctx, store.Notice{ID: id, Bytes: b}); err != nil {
		return err
	}
	n.Nudge()
	return nil
}

// Test sends a notice of the type [TypeTest] straight to one target, whatever types and
// keys it asks for, once. Nothing of it stays in the store. ErrUnknownTarget if there is
// no such target.
func (n *Notifier) Test(ctx context.Context, name string) error {
	i := slices.IndexFunc(n.targets, func(t *target) bool { return t.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: %q", ErrUnknownTarget, name)
	}
	m, err := encode(n.StoreID, Notice{
		ID: "test-" + uuid.NewString(), Type: TypeTest, Time: n.Clock.Now().UTC().Truncate(time.Microsecond),
		Note: "a test: nothing happened",
	})
	if err != nil {
		return err
	}
	if err := n.targets[i].sendOne(ctx, m); err != nil {
		return fmt.Errorf("target %q: %w", name, err)
	}
	return nil
}

// Deliver makes one pass over all targets now, whether the notifier runs or not: until
// nothing is due, or a target does not take anything. It leaves out a target that another
// process delivers to; the report says so. The error is the store's.
func (n *Notifier) Deliver(ctx context.Context) (Report, error) {
	if err := n.Subscribe(ctx); err != nil {
		return Report{}, err
	}
	report := Report{Targets: make([]TargetReport, len(n.targets))}
	errs := make([]error, len(n.targets))
	var tasks sync.WaitGroup
	for i, t := range n.targets {
		tasks.Go(func() { report.Targets[i], errs[i] = t.pass(ctx) })
	}
	tasks.Wait()
	err := errors.Join(errs...)
	if ctx.Err() == nil { // there may be nothing here but passes
		now := n.Clock.Now()
		err = errors.Join(err, n.Store.Sweep(ctx, now.Add(-keep), now.Add(-keep)))
	}
	return report, err
}
