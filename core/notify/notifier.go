package notify

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Topic is that of a notifier's subscribers in the store.
const Topic = "notify"

const (
	// DefaultTimeout is how long one try to send may take, and MaxTimeout how long at
	// most: a try must end before another process may take over.
	DefaultTimeout = 10 * time.Second
	MaxTimeout     = 30 * time.Second
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

// Sender takes messages to a target. Send returns when ctx ends. A nil error means
// delivered.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// Target is where messages go.
type Target struct {
	// Name is that of the subscriber, and stays the same over restarts.
	Name string
	// Types and Keys are what it wants; nil is all.
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
	// Owner names the process, see [rotation.CurrentOwner].
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
}

// New checks the configuration.
func New(c Config) (*Notifier, error) { return &Notifier{c}, nil }

// Subscribe makes the targets known to the store. From then on each misses nothing.
func (n *Notifier) Subscribe(ctx context.Context) error { return nil }

// Handle has a function hear of notices, of all types if none is named.
func (n *Notifier) Handle(name string, h Handler, types ...Type) {}

// Start begins to deliver.
func (n *Notifier) Start() error { return nil }

// Stop ends that.
func (n *Notifier) Stop(ctx context.Context) error { return nil }

// Nudge has the notifier look at once.
func (n *Notifier) Nudge() {}

// Tell adds a notice, once by id.
func (n *Notifier) Tell(ctx context.Context, id string, e history.Event) error { return nil }

// Deliver makes one pass.
func (n *Notifier) Deliver(ctx context.Context) (Report, error) { return Report{}, nil }

// Test sends a test notice straight to one target.
func (n *Notifier) Test(ctx context.Context, target string) error { return nil }

// Status tells how it stands with each target, in the order of the configuration.
func (n *Notifier) Status(ctx context.Context) ([]Status, error) { return nil, nil }
