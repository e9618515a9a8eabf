package notify_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/tier"
)

var errKilled = errors.New("the process was killed")

// mortal is a process that is killed at one of its steps: at a call of the store before or
// after it took place, or at a send. From then on it does nothing.
type mortal struct {
	store.Outbox
	receiver *receiver

	mu    sync.Mutex
	left  int // steps until it dies
	dead  bool
	steps int
}

// step is one more; the process may not outlive it.
func (p *mortal) step() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.steps++; p.steps == p.left {
		p.dead = true
	}
	if p.dead {
		return errKilled
	}
	return nil
}

func (p *mortal) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// around is a call with a step before and one after it.
func (p *mortal) around(call func() error) error {
	if err := p.step(); err != nil {
		return err
	}
	return errors.Join(call(), p.step())
}

func (p *mortal) FeedEnd(ctx context.Context) (at store.Position, err error) {
	err = p.around(func() (err error) { at, err = p.Outbox.FeedEnd(ctx); return err })
	return at, err
}

func (p *mortal) After(ctx context.Context, at store.Position, limit int) (b store.Batch, err error) {
	err = p.around(func() (err error) { b, err = p.Outbox.After(ctx, at, min(limit, 3)); return err })
	return b, err
}

func (p *mortal) Subscribers(ctx context.Context, topic string) (list []store.Subscriber, err error) {
	err = p.around(func() (err error) { list, err = p.Outbox.Subscribers(ctx, topic); return err })
	return list, err
}

func (p *mortal) Route(ctx context.Context, s store.Subscription, from, to store.Position, rows []store.Delivery) error {
	return p.around(func() error { return p.Outbox.Route(ctx, s, from, to, rows) })
}

func (p *mortal) Hold(ctx context.Context, s store.Subscription, owner string, ttl time.Duration) error {
	return p.around(func() error { return p.Outbox.Hold(ctx, s, owner, ttl) })
}

func (p *mortal) Release(ctx context.Context, s store.Subscription, owner string) error {
	return p.around(func() error { return p.Outbox.Release(ctx, s, owner) })
}

func (p *mortal) Heads(ctx context.Context, s store.Subscription, limit int) (heads []store.Delivery, next time.Time, err error) {
	err = p.around(func() (err error) { heads, next, err = p.Outbox.Heads(ctx, s, limit); return err })
	return heads, next, err
}

func (p *mortal) Settle(ctx context.Context, s store.Subscription, owner string, settled []store.Settled) error {
	return p.around(func() error { return p.Outbox.Settle(ctx, s, owner, settled) })
}

func (p *mortal) Sweep(ctx context.Context, finished, unseen time.Time) error {
	return p.around(func() error { return p.Outbox.Sweep(ctx, finished, unseen) })
}

// Send is killed before the receiver has it, or after.
func (p *mortal) Send(ctx context.Context, m notify.Message) error {
	return p.around(func() error { return p.receiver.Send(ctx, m) })
}

// TestKilled: a process is killed at each of its steps, in the usual tier at every third, and
// another one goes on. Nothing is lost, the order of each key holds, and hardly anything
// comes twice.
func TestKilled(t *testing.T) {
	for left := 1; ; left += tier.Pick(3, 1) {
		survived := false
		synctest.Test(t, func(t *testing.T) {
			b := inBubble(t)
			r := &receiver{}
			p := &mortal{Outbox: b.open(), receiver: r, left: left}
			n := b.notifier("p1", p, notify.Target{Name: "ops", Sender: p})
			for range 2 {
				b.happen("payments")
				b.happen("orders")
			}
			b.commit("", history.Event{Type: history.KEKRotated, Operation: "kek", Provider: "prod"})
			b.happened[""] = []string{"kek"}
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2500 * time.Millisecond)
			b.happen("payments")
			time.Sleep(2500 * time.Millisecond)
			survived = !p.isDead()
			defer stop(t, n) // there is no other way to end its goroutines

			next := b.notifier("p2", nil, notify.Target{Name: "ops", Sender: r})
			start(t, next)
			b.happen("orders")
			time.Sleep(75 * time.Second) // its lease runs out
			repeats := b.wantAll(r)
			if repeats > 4 {
				t.Errorf("killed at step %d: %d repeats", left, repeats)
			}
			if s := status(t, next); s.Open != 0 || s.Behind != 0 {
				t.Errorf("killed at step %d: status %+v", left, s)
			}
			if t.Failed() {
				t.Fatalf("killed at step %d", left)
			}
		})
		if survived || t.Failed() {
			if left < 20 {
				t.Errorf("only %d steps", left)
			}
			return
		}
	}
}

// TestGone: on one machine nobody waits for the lease of a process that is gone.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		p := &mortal{Outbox: b.open(), receiver: r}
		n := b.notifier(goneOwner(t), p, notify.Target{Name: "ops", Sender: p})
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		defer stop(t, n)
		b.happen("payments")
		time.Sleep(1500 * time.Millisecond)
		p.mu.Lock()
		p.dead = true
		p.mu.Unlock()
		b.happen("payments")
		start(t, b.notifier("p2", nil, notify.Target{Name: "ops", Sender: r}))
		time.Sleep(1500 * time.Millisecond)
		b.wantAll(r)
	})
}

// TestAsleep: a process that sleeps beyond its lease while another goes on sends nothing
// when it wakes, and then takes turns again.
func TestAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		release := make(chan struct{})
		s := &sleepy{Outbox: b.open(), wake: release}
		n := b.notifier("p1", s, notify.Target{Name: "ops", Sender: r})
		start(t, n)
		for range 3 {
			b.happen("payments")
		}
		time.Sleep(2 * time.Second) // it holds the target and has read what to send
		start(t, b.notifier("p2", nil, notify.Target{Name: "ops", Sender: r}))
		b.happen("payments")
		time.Sleep(2 * time.Minute)
		b.wantAll(r)
		close(release)
		time.Sleep(2 * time.Minute)
		b.happen("payments")
		time.Sleep(time.Minute)
		if repeats := b.wantAll(r); repeats > 0 {
			t.Errorf("who slept sent %d again", repeats)
		}
	})
}

// sleepy is a process that is suspended after it has read what to send.
type sleepy struct {
	store.Outbox
	once sync.Once
	wake chan struct{}
}

func (s *sleepy) Heads(ctx context.Context, sub store.Subscription, limit int) ([]store.Delivery, time.Time, error) {
	heads, next, err := s.Outbox.Heads(ctx, sub, limit)
	s.once.Do(func() { <-s.wake })
	return heads, next, err
}

// TestStoreAway: while the store cannot be reached nothing is sent again and again, and
// nothing is lost.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		s := &flaky{Outbox: b.open()}
		var heard []string
		n := b.notifier("p1", s, notify.Target{Name: "ops", Sender: r})
		n.Handle("h", func(_ context.Context, n notify.Notice) { heard = append(heard, n.Operation) })
		start(t, n)
		b.happen("payments")
		time.Sleep(1500 * time.Millisecond)
		// It goes away after a message was sent, and before the store has heard of it.
		r.answers(func(context.Context, notify.Message) error { s.set(true); return nil })
		b.happen("payments")
		b.happen("payments")
		time.Sleep(10 * time.Minute)
		if got, repeats := r.operations(t); len(got["payments"]) != 2 || repeats > 0 {
			t.Errorf("while the store is away came %q, %d repeats", got, repeats)
		}
		r.answers(nil)
		s.set(false)
		time.Sleep(15 * time.Second)
		if repeats := b.wantAll(r); repeats > 0 {
			t.Errorf("%d repeats", repeats)
		}
		synctest.Wait() // what the handler wrote is seen only then
		if fmt.Sprint(heard) != fmt.Sprint(b.happened["payments"]) {
			t.Errorf("the handler heard %q", heard)
		}
	})
}

// flaky is a store that is away at times.
type flaky struct {
	store.Outbox
	mu   sync.Mutex
	away bool
}

func (f *flaky) set(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

func (f *flaky) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return store.ErrBusy
	}
	return nil
}

func (f *flaky) FeedEnd(ctx context.Context) (store.Position, error) {
	if err := f.err(); err != nil {
		return store.Position{}, err
	}
	return f.Outbox.FeedEnd(ctx)
}

func (f *flaky) After(ctx context.Context, p store.Position, limit int) (store.Batch, error) {
	if err := f.err(); err != nil {
		return store.Batch{}, err
	}
	return f.Outbox.After(ctx, p, limit)
}

func (f *flaky) Subscribers(ctx context.Context, topic string) ([]store.Subscriber, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Outbox.Subscribers(ctx, topic)
}

func (f *flaky) Route(ctx context.Context, s store.Subscription, from, to store.Position, rows []store.Delivery) error {
	return ifNil(f.err(), func() error { return f.Outbox.Route(ctx, s, from, to, rows) })
}

func (f *flaky) Hold(ctx context.Context, s store.Subscription, owner string, ttl time.Duration) error {
	return ifNil(f.err(), func() error { return f.Outbox.Hold(ctx, s, owner, ttl) })
}

func (f *flaky) Heads(ctx context.Context, s store.Subscription, limit int) ([]store.Delivery, time.Time, error) {
	if err := f.err(); err != nil {
		return nil, time.Time{}, err
	}
	return f.Outbox.Heads(ctx, s, limit)
}

func (f *flaky) Settle(ctx context.Context, s store.Subscription, owner string, settled []store.Settled) error {
	return ifNil(f.err(), func() error { return f.Outbox.Settle(ctx, s, owner, settled) })
}

func ifNil(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}
