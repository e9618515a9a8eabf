package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// ErrMoved: another process looked through the feed for this subscriber meanwhile, or
// delivers to it now. Nothing was changed.
var ErrMoved = errors.New("another process serves this subscriber")

// MaxPause is the most that a delivery may be put off at a time.
const MaxPause = 24 * time.Hour

// Feed is what is worth telling outside: the history, and notices, which are no part of
// it. Nothing in it waits for whoever reads it.
type Feed interface {
	// FeedEnd is the position behind everything.
	FeedEnd(ctx context.Context) (Position, error)
	// After answers what follows a position, in the order in which it was committed:
	// at most limit events, and as many notices.
	After(ctx context.Context, p Position, limit int) (Batch, error)
	// Notify adds notices; those whose id is known already are passed over. The bytes
	// are an event's, see [history.Event.Encode], with no Seq.
	Notify(ctx context.Context, notices ...Notice) error
}

// Position is a place in the feed: behind so many events, and behind the notice with this
// number.
type Position struct {
	Event  uint64
	Notice int64
}

// Batch is a part of the feed.
type Batch struct {
	Events  []FeedEvent
	Notices []Notice
	// To is the position behind it. It differs from the one asked for even if there is
	// nothing in it, where events were taken out by retention.
	To Position
}

// FeedEvent is an event of the history: its number, and its bytes as they were stored.
type FeedEvent struct {
	Seq   uint64
	Bytes json.RawMessage
}

// Notice is something to tell once.
type Notice struct {
	// Number is given by the store.
	Number int64
	// ID names the occasion.
	ID    string
	Bytes json.RawMessage
}

// Outbox keeps what is to be delivered outside, so that a restart loses nothing. Rows of
// one order key of a subscriber are delivered one after the other.
type Outbox interface {
	Feed
	// Subscribe makes subscribers known. From then on each misses nothing; one that is
	// known goes on where it is. It writes only if there is something new to write.
	Subscribe(ctx context.Context, topic string, targets ...string) error
	// Subscribers lists those of a topic in the order of their targets.
	Subscribers(ctx context.Context, topic string) ([]Subscriber, error)
	// Route puts rows in the outbox, and moves the subscriber's position, all or nothing.
	// Rows whose id is known already are passed over. ErrMoved, and no row, unless the
	// position is still from.
	Route(ctx context.Context, s Subscription, from, to Position, rows []Delivery) error
	// Hold has a process deliver to a subscriber until the time to live is over, on the
	// store's clock; or renews that. ErrMoved if another process does, or if there is no
	// such subscriber.
	Hold(ctx context.Context, s Subscription, owner string, ttl time.Duration) error
	// Release ends that; ending what is over succeeds.
	Release(ctx context.Context, s Subscription, owner string) error
	// Heads answers of each order key the oldest row that is open, if its time has come,
	// the oldest first, at most limit; and when the next one's time comes, zero if there
	// is none. A time that is further away than MaxPause has come: the clock was set back.
	Heads(ctx context.Context, s Subscription, limit int) (heads []Delivery, next time.Time, err error)
	// Settle records what came of deliveries that are open. ErrMoved unless owner holds
	// the subscriber, or held it last: what it did before its time was over is worth
	// knowing as long as nobody else began.
	Settle(ctx context.Context, s Subscription, owner string, settled []Settled) error
	// Sweep forgets rows that were finished before a time, and notices as old that all
	// subscribers have passed, of all topics; and what there is of subscribers that no
	// process has named since unseen.
	Sweep(ctx context.Context, finished, unseen time.Time) error
}

// Subscription names a subscriber.
type Subscription struct {
	Topic, Target string
}

// Subscriber is where a subscriber stands.
type Subscriber struct {
	Subscription
	Position Position
	// Owner delivers until Expires; it is empty if nobody does.
	Owner   string
	Expires time.Time
	// Open rows are not delivered yet, the oldest since Oldest. Failing of them were tried;
	// only the oldest of each order key counts, because only that is. Terminal ones were
	// given up. LastError is that of the newest row which has one and is such an oldest
	// row, or was given up.
	Open, Failing, Terminal int
	Oldest                  time.Time
	LastError               string
}

// Delivery is a row of the outbox.
type Delivery struct {
	// ID is the row's; it grows in the order of routing.
	ID int64
	// OrderKey is that of what must not overtake one another.
	OrderKey string
	// Idempotency is the id that whoever gets it can know it by when it comes twice.
	Idempotency string
	// Event is the number of the event that it is about, 0 if there is none.
	Event    uint64
	Payload  []byte
	Created  time.Time
	Attempts int
}

// Settled is what came of one delivery.
type Settled struct {
	ID int64
	// Done: it was delivered. Terminal: it is given up. Else it is tried again at Next.
	Done, Terminal bool
	Next           time.Time
	// Error says why it was not delivered.
	Error string
}
