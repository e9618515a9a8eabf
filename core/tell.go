package core

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

// The shares of a number of uses at which it is told that they come to an end, in
// percent: of those at which a policy rotates the key, and of the hard limit.
const (
	policyThreshold = 80
	limitThreshold  = 90
)

// dueSoon tells of a rotation that comes. A policy that moves it a little with each check is
// no news each time: what was told counts as long as it is off by less than a tenth of the
// lead time. For other processes it stands in the id, to the hour or that tenth.
func (kr *Keyrotor) dueSoon(s scheduler.Soon) {
	little := kr.Config.Scheduler.DueSoon / 10
	about := fmt.Sprintf("%s/%s/%s/%d", notify.RotationDueSoon, s.Key, s.Policy, s.Version)
	due := kr.teller.forecast(about, s.Due, little).Truncate(max(little, time.Hour))
	kr.teller.tell(fmt.Sprintf("%s/%d", about, due.Unix()), history.Event{
		Type: history.Type(notify.RotationDueSoon), Key: s.Key, Version: s.Version,
		Details: map[string]string{"policy": s.Policy, "due": s.Due.UTC().Format(time.RFC3339), "why": s.Why},
	})
}

// used hears of each grant of uses that this process gets.
func (kr *Keyrotor) used(key string, l store.Lease, hardLimit uint64) {
	kr.Scheduler.Used(key, l)
	uses, least, name := l.Uses, hardLimit/2+hardLimit%2, policy.HardLimit{}.Name()
	if n, of := kr.leastUses(key); n > 0 && n <= least {
		uses, least, name = l.Uses-l.Reencrypted, n, of // which policies do not count
	}
	if l.Count > 0 { // else it is a call for help, which knows of the hard limit alone
		kr.tellUses(key, l.Version, policyThreshold, uses, least, name)
	}
	kr.tellUses(key, l.Version, limitThreshold, l.Uses, hardLimit, "")
}

// tellUses tells that a version has had some percent of its uses, if it has.
func (kr *Keyrotor) tellUses(key string, version uint32, percent, uses, limit uint64, policy string) {
	if limit == 0 || uses < (limit*percent+99)/100 {
		return
	}
	details := map[string]string{
		"threshold": strconv.FormatUint(percent, 10) + "%", "uses": strconv.FormatUint(uses, 10), "limit": strconv.FormatUint(limit, 10),
	}
	if policy != "" {
		details["policy"] = policy
	}
	kr.teller.tell(fmt.Sprintf("%s/%s/%d/%d-of-%d", notify.UsageThreshold, key, version, percent, limit), history.Event{
		Type: history.Type(notify.UsageThreshold), Key: key, Version: version, Details: details,
	})
}

// tampered tells of a key's record that is not the one that its history describes.
func (kr *Keyrotor) tampered(t engine.Tampered) {
	kr.teller.tell(fmt.Sprintf("%s/%s/%s", notify.VerifyFailed, t.Key, t.Found), history.Event{
		Type: history.Type(notify.VerifyFailed), Key: t.Key, Version: t.Version, ErrorCode: "integrity",
		Details: map[string]string{"digest": t.Found, "expected_digest": t.Expected},
	})
}

const (
	// maxTold bounds what is remembered of what was told. Beyond, the store is asked.
	maxTold = 10_000
	// maxUntold bounds what waits for a store that cannot be written.
	maxUntold = 1000
	// tellTimeout bounds one try to write.
	tellTimeout = 5 * time.Second
)

// teller tells what is no event of the history, in the background: no encryption and no
// rotation waits for it. What is to be told is tried until the store takes it.
type teller struct {
	// put tells something, once by id.
	put   func(ctx context.Context, id string, e history.Event) error
	clock clockwork.Clock
	actor string
	log   *slog.Logger

	mu      sync.Mutex
	told    map[string]bool      // or in the queue
	times   map[string]time.Time // that were told to come, see forecast
	queue   []told
	writing bool
	closed  bool
	tasks   sync.WaitGroup
	life    context.Context //nolint:containedctx // of what it does by itself; end ends it
	end     context.CancelFunc
}

type told struct {
	id    string
	event history.Event
}

func newTeller(actor string, clock clockwork.Clock, log *slog.Logger, put func(context.Context, string, history.Event) error) *teller {
	if clock == nil {
		clock = clockwork.NewRealClock()
	}
	t := &teller{put: put, clock: clock, actor: actor, log: log, told: make(map[string]bool), times: make(map[string]time.Time)}
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

// forecast answers when something was told to happen, if at differs from that by less than
// within; else at, which counts as told from now on.
func (t *teller) forecast(what string, at time.Time, within time.Duration) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if told, ok := t.times[what]; ok && at.Sub(told).Abs() < within {
		return told
	}
	if len(t.times) >= maxTold {
		clear(t.times)
	}
	t.times[what] = at
	return at
}

// tell returns at once.
func (t *teller) tell(id string, e history.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed || t.told[id]:
		return
	case len(t.queue) >= maxUntold:
		t.log.Error("a notice is lost: too many wait for the store", "id", id, "key", e.Key)
		return
	}
	if len(t.told) >= maxTold {
		clear(t.told)
	}
	t.told[id] = true
	e.Time, e.Actor = t.clock.Now(), t.actor
	t.queue = append(t.queue, told{id, e})
	if !t.writing {
		t.writing = true
		t.tasks.Go(t.write)
	}
}

// write empties the queue, or ends with the teller.
func (t *teller) write() {
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: time.Second, Multiplier: 2, MaxInterval: time.Minute,
		RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	for {
		err := t.flush(t.life)
		if err == nil || t.life.Err() != nil {
			return
		}
		t.log.Warn("a notice is not in the store yet; it is tried again", "error", err)
		timer := t.clock.NewTimer(pauses.NextBackOff())
		select {
		case <-timer.Chan():
		case <-t.life.Done():
			timer.Stop()
			return
		}
	}
}

// flush writes what there is, up to what cannot be.
func (t *teller) flush(ctx context.Context) error {
	for {
		next, ok := t.head()
		if !ok {
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, tellTimeout)
		err := t.put(limited, next.id, next.event)
		cancel()
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.queue = t.queue[1:]
		t.mu.Unlock()
	}
}

// head answers what is next. After the last, nobody takes care of the queue any more.
func (t *teller) head() (told, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.writing = false
		return told{}, false
	}
	return t.queue[0], true
}

// close tries once more what is not told yet. It is found again by the next process
// that has a reason to tell it.
func (t *teller) close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.end()
	t.tasks.Wait()
	if err := t.flush(ctx); err != nil {
		return fmt.Errorf("notices were not told: %w", err)
	}
	return nil
}
