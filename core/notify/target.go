package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	// idleInterval is how often a target is looked at where nothing seems to happen: a
	// neighbour may have ended with work undone.
	idleInterval = 10 * time.Second
	// aheadLimit is how much of the feed is looked through at most without saying so to
	// the store, and housekeeping for how long: most of it is told to nobody, and must not
	// cost a write. Until then retention must leave it alone.
	aheadLimit = 1000
)

// errUnknown: the target is not known to the store.
var errUnknown = errors.New("the store does not know the target")

// target is what one target's notices are delivered by. At any time one process does, and
// in it one goroutine, with a few that send for it.
type target struct {
	Target
	notifier *Notifier
	log      *slog.Logger
	sub      store.Subscription
	lease    lease
	// woken: there is something new in the feed.
	woken chan struct{}

	// turn is had by whoever looks after the target, and guards what follows.
	turn sync.Mutex
	// at is where the store says the target is, and seen how far the feed was looked
	// through without finding anything for it.
	at, seen store.Position
	// said is when the store was told so last.
	said time.Time
	// failures counts how often in a row the target took nothing, and trouble is why. It is
	// left alone until paused.
	failures int
	paused   time.Time
	trouble  string
	report   TargetReport

	mu sync.Mutex
	// unsettled is what was delivered without the store having heard of it.
	unsettled []store.Settled
}

func newTarget(n *Notifier, c Target) *target {
	t := &target{
		Target: c, notifier: n, log: n.Log.With("target", c.Name),
		sub: store.Subscription{Topic: Topic, Target: c.Name}, woken: make(chan struct{}, 1),
	}
	t.lease = lease{store: n.Store, sub: t.sub, owner: n.Owner, clock: n.Clock}
	return t
}

// nudge has the target looked at.
func (t *target) nudge() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// serve delivers until Stop.
func (t *target) serve(r *run) {
	clock := t.notifier.Clock
	timer := clock.NewTimer(0)
	defer timer.Stop()
	var down bool
	for {
		select {
		case <-r.looking.Done():
			t.finish(r.acting)
			return
		case <-timer.Chan():
		case <-t.woken:
		}
		again, err := t.look(r.looking, r.acting)
		if errors.Is(err, store.ErrMoved) {
			err = nil // another process is at it
		}
		t.notifier.logStore(r.looking, err, &down)
		now := clock.Now()
		if err != nil {
			again = now.Add(lookInterval)
		}
		timer.Stop()
		timer.Reset(min(max(again.Sub(now), 0), idleInterval))
	}
}

// finish lets others deliver.
func (t *target) finish(ctx context.Context) {
	t.turn.Lock()
	defer t.turn.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	err := t.settle(ctx)
	if err := errors.Join(err, t.lease.release(ctx)); err != nil && !errors.Is(err, store.ErrMoved) {
		t.log.Warn("the store did not hear that this process ends: another one delivers after a minute", "error", err)
	}
	if c, ok := t.Sender.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// pass is one turn for its own sake.
func (t *target) pass(ctx context.Context) (TargetReport, error) {
	t.turn.Lock()
	t.report = TargetReport{Target: t.Name}
	t.paused = time.Time{}
	_, err := t.take(ctx, ctx)
	if errors.Is(err, store.ErrMoved) {
		err = nil
	}
	t.turn.Unlock()
	t.finish(ctx)

	t.turn.Lock()
	defer t.turn.Unlock()
	report := t.report
	s, standErr := t.stand(context.WithoutCancel(ctx))
	report.Open = s.Open
	if s.Owner != "" && s.Owner != t.notifier.Owner && t.notifier.Clock.Now().Before(s.Expires) {
		report.HeldBy = s.Owner
	}
	return report, errors.Join(err, standErr)
}

// look has one turn, and answers when the next is due. acting outlasts looking: what is
// under way when looking ends is finished.
func (t *target) look(looking, acting context.Context) (again time.Time, err error) {
	t.turn.Lock()
	defer t.turn.Unlock()
	return t.take(looking, acting)
}

// take is look with turn held.
func (t *target) take(looking, acting context.Context) (again time.Time, err error) {
	now := t.notifier.Clock.Now()
	switch {
	case !t.lease.held():
		if again, err := t.begin(looking, now); err != nil || !again.IsZero() {
			return again, err
		}
	case !now.Before(t.lease.renewal()):
		// Where nothing happens, nothing is written for long.
		if idle, err := t.idle(looking); err != nil || idle {
			return now.Add(idleInterval), errors.Join(err, t.lease.release(looking))
		}
		if err := t.lease.renew(looking); err != nil {
			return now, err
		}
	}
	next, err := t.work(looking, acting)
	if renewal := t.lease.renewal(); next.IsZero() || renewal.Before(next) {
		next = renewal
	}
	return next, err
}

// idle reports whether there is nothing to do, now or later.
func (t *target) idle(ctx context.Context) (bool, error) {
	heads, next, err := t.notifier.Store.Heads(ctx, t.sub, 1)
	if err != nil || len(heads) > 0 || !next.IsZero() {
		return false, err
	}
	rows, to, err := t.scan(ctx)
	return len(rows) == 0 && !t.ahead(to), err
}

// begin looks whether there is anything to do, and claims the target if so. Else it
// answers when to look again.
func (t *target) begin(ctx context.Context, now time.Time) (again time.Time, err error) {
	s, err := t.stand(ctx)
	if err != nil {
		return now, err
	}
	if s.Position != t.at {
		t.at, t.seen = s.Position, s.Position
	}
	if s.Open == 0 {
		rows, to, err := t.scan(ctx)
		if err != nil {
			return now, err
		}
		if len(rows) == 0 && !t.ahead(to) {
			return now.Add(idleInterval), nil
		}
	}
	if s.Owner != "" && s.Owner != t.notifier.Owner && now.Before(s.Expires) {
		if !rotation.ParseOwner(s.Owner).Gone() {
			return now.Add(min(idleInterval, s.Expires.Sub(now))), nil
		}
		if err := t.notifier.Store.Release(ctx, t.sub, s.Owner); err != nil {
			return now, err
		}
	}
	switch err := t.lease.take(ctx); {
	case errors.Is(err, store.ErrMoved):
		return now.Add(idleInterval), nil
	default:
		return time.Time{}, err
	}
}

// stand reads what the store knows of the target.
func (t *target) stand(ctx context.Context) (store.Subscriber, error) {
	list, err := t.notifier.Store.Subscribers(ctx, Topic)
	if err != nil {
		return store.Subscriber{}, err
	}
	i := slices.IndexFunc(list, func(s store.Subscriber) bool { return s.Target == t.Name })
	if i < 0 {
		return store.Subscriber{}, fmt.Errorf("notify: %w %q: Subscribe makes it known", errUnknown, t.Name)
	}
	return list[i], nil
}

// work routes and delivers until nothing is due, and answers when something will be; the
// zero time if nothing is open.
func (t *target) work(looking, acting context.Context) (next time.Time, err error) {
	for {
		if err := t.settle(acting); err != nil {
			return next, t.moved(err)
		}
		if err := t.pump(looking); err != nil {
			return next, t.moved(err)
		}
		next, more, err := t.deliver(looking, acting)
		if err != nil || !more {
			return next, t.moved(err)
		}
	}
}

// moved gives up what this process believed of the target, if another has it.
func (t *target) moved(err error) error {
	if errors.Is(err, store.ErrMoved) {
		t.lease.lose()
	}
	return err
}
