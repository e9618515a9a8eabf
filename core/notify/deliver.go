package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyrotor/keyrotor/core/store"
)

const (
	// wave is how many messages, of different keys, are taken up at a time, and workers
	// how many of them are sent at a time.
	wave    = 16
	workers = 4
	// maxError bounds what the store keeps of an error.
	maxError = 500
)

// attempt is one try to send one message.
type attempt struct {
	store.Delivery
	notice Notice
	// tried: the sender was asked, and answered err.
	tried bool
	err   error
}

func (a *attempt) delivered() bool { return a.tried && a.err == nil }

// away reports whether the target took nothing, whatever the message.
func (a *attempt) away() bool { return a.tried && a.err != nil && !errors.Is(a.err, ErrRefused) }

// deliver sends what is due, a wave of it. It answers when the next is due, zero if
// nothing is open, and whether there may be more to do now.
func (t *target) deliver(looking, acting context.Context) (next time.Time, more bool, err error) {
	heads, next, err := t.notifier.Store.Heads(looking, t.sub, wave)
	if err != nil || len(heads) == 0 {
		return next, false, err
	}
	now := t.notifier.Clock.Now()
	if now.Before(t.paused) && t.paused.Sub(now) <= longestAfter { // or the clock was set back
		return t.expire(acting, heads, now)
	}
	if t.failures > 0 {
		// A probe: what was tried least. If the oldest is what the target stumbles over, the
		// others show that it is there.
		heads = []store.Delivery{slices.MinFunc(heads, func(a, b store.Delivery) int { return cmp.Compare(a.Attempts, b.Attempts) })}
	}
	attempts, lost := t.send(looking, acting, heads)
	if err := errors.Join(lost, t.judge(acting, attempts)); err != nil {
		return next, false, err
	}
	return next, true, looking.Err()
}

// send tries messages, a few at a time, and settles at once what was delivered: if this
// process is killed, little is sent twice. The error says that it must stop: the lease is
// lost, or the store away.
func (t *target) send(looking, acting context.Context, heads []store.Delivery) ([]attempt, error) {
	attempts := make([]attempt, len(heads))
	var stop atomic.Bool
	var group errgroup.Group
	group.SetLimit(workers)
	for i, d := range heads {
		a := &attempts[i]
		a.Delivery = d
		group.Go(func() error {
			if stop.Load() {
				return nil
			}
			if err := looking.Err(); err != nil {
				return err
			}
			// Whoever slept since the last look at the lease may have lost it.
			err := t.lease.renew(looking)
			if err == nil {
				t.try(acting, a)
				if a.delivered() {
					err = t.settleOne(acting, d.ID)
				}
			}
			if err != nil || a.away() {
				stop.Store(true)
			}
			return err
		})
	}
	return attempts, group.Wait()
}

// try sends one message.
func (t *target) try(ctx context.Context, a *attempt) {
	m, err := decode(a.Payload)
	if err != nil {
		a.tried, a.err = true, fmt.Errorf("%w: %w", ErrRefused, err)
		return
	}
	a.notice = m.Notice
	err = t.sendOne(ctx, m)
	if err == nil || ctx.Err() == nil { // else it is this process that gave up
		a.tried, a.err = true, err
	}
}

// sendOne has the sender send a message.
func (t *target) sendOne(ctx context.Context, m Message) (err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			t.log.Error("a sender panicked", "id", m.ID, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: the sender panicked", ErrRefused)
		}
	}()
	err = t.Sender.Send(ctx, m)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("not done within %s: %w", t.Timeout, err)
	}
	return err
}

// judge decides what becomes of messages that failed, and of the target.
func (t *target) judge(ctx context.Context, attempts []attempt) error {
	now := t.notifier.Clock.Now()
	t.answered(attempts, now)
	var settled []store.Settled
	for i := range attempts {
		a := &attempts[i]
		switch {
		case !a.tried:
			continue
		case a.err == nil:
			t.report.Delivered++
			continue
		}
		t.report.Error = a.err.Error()
		s := store.Settled{ID: a.ID, Error: shorten(a.err.Error())}
		if deadline := a.Created.Add(t.GiveUp); now.Before(deadline) {
			t.report.Failed++
			s.Next = now.Add(pause(a.Attempts+1, later(a.err)))
			switch {
			case a.away() && s.Next.Before(t.paused):
				s.Next = t.paused
			case !a.away():
				t.log.Warn("a notice was refused: it is tried again, and others of its key wait", "id", a.Idempotency, "type", a.notice.Type, "key", a.OrderKey, "again", s.Next, "error", a.err)
			}
			if deadline.Before(s.Next) {
				s.Next = deadline
			}
		} else {
			s.Terminal = true
			t.gaveUp(&a.Delivery, s.Error)
		}
		settled = append(settled, s)
	}
	if len(settled) == 0 {
		return nil
	}
	return t.settleAll(ctx, settled)
}

// answered decides whether the target is left alone for a while.
func (t *target) answered(attempts []attempt, now time.Time) {
	var reached bool
	var away error
	for i := range attempts {
		a := &attempts[i]
		reached = reached || a.tried && !a.away()
		if a.away() && (away == nil || later(a.err) > later(away)) {
			away = a.err
		}
	}
	switch {
	case away != nil:
		t.failures++
		t.paused, t.trouble = now.Add(pause(t.failures, later(away))), shorten(away.Error())
		if t.failures == 1 {
			t.log.Warn("the target takes no notices: they are kept, and one is tried from time to time", "error", away)
		}
	case reached && t.failures > 0:
		t.log.Info("the target takes notices again", "failures", t.failures)
		t.failures, t.paused, t.trouble = 0, time.Time{}, ""
	}
}

// expire gives up, without another try, what is too old while the target is left alone. A
// probe shows how the target is; one for each message would take for ever.
func (t *target) expire(ctx context.Context, heads []store.Delivery, now time.Time) (next time.Time, more bool, err error) {
	next = t.paused
	var settled []store.Settled
	for i := range heads {
		deadline := heads[i].Created.Add(t.GiveUp)
		switch {
		case !now.Before(deadline):
			settled = append(settled, store.Settled{ID: heads[i].ID, Terminal: true, Error: t.trouble})
			t.gaveUp(&heads[i], t.trouble)
		case deadline.Before(next):
			next = deadline
		}
	}
	if len(settled) == 0 {
		return next, false, nil
	}
	return next, true, t.settleAll(ctx, settled)
}

func (t *target) gaveUp(d *store.Delivery, why string) {
	t.report.GivenUp++
	t.log.Error("a notice was given up: the target does not get it", "id", d.Idempotency, "key", d.OrderKey, "since", d.Created, "attempts", d.Attempts, "error", why)
}

// later is how long the receiver wants to be left alone.
func later(err error) time.Duration {
	if l, ok := errors.AsType[*LaterError](err); ok {
		return l.After
	}
	return 0
}

// shorten cuts an error to what the store keeps.
func shorten(text string) string {
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return text
}
