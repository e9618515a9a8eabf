package core

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	// tendInterval is how often the newest events are read into memory at least.
	tendInterval = time.Minute
	// pruneInterval is how often old events are looked for, unless none are to persist:
	// then it is tendInterval, and they are old after forgetAfter. By then whoever keeps
	// them in memory has seen them.
	pruneInterval = time.Hour
	forgetAfter   = 2 * time.Minute
	// unseen is how long a subscriber of the feed holds up retention that no process has
	// named: the one that had it in its config is gone, or has no such block any more.
	unseen = 30 * 24 * time.Hour
)

// tendHistory runs beside the scheduler until ctx ends: it keeps the newest events in
// memory, and the store's history as long as the config wants it.
func (kr *Keyrotor) tendHistory(ctx context.Context) {
	clock := kr.Scheduler.Clock
	timer := clock.NewTimer(0)
	defer timer.Stop()
	var pruned time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.Chan():
		}
		kr.readRecent(ctx)
		// The clock may have been set back.
		if every := kr.pruneEvery(); every > 0 && clock.Since(pruned).Abs() >= every {
			pruned = clock.Now()
			kr.prune(ctx)
		}
		timer.Reset(min(kr.Scheduler.Interval(), tendInterval))
	}
}

// pruneEvery is how often old events are looked for, 0 if they are kept for ever.
func (kr *Keyrotor) pruneEvery() time.Duration {
	switch h := kr.Config.History; {
	case !h.Persist:
		return tendInterval
	case h.Retention > 0:
		return pruneInterval
	default:
		return 0
	}
}

// prune is PruneHistory on the scheduler's behalf. What fails is tried again at the next
// time.
func (kr *Keyrotor) prune(ctx context.Context) {
	n, err := kr.PruneHistory(ctx)
	log := kr.Scheduler.Log.With("events", n)
	switch {
	case err != nil && ctx.Err() == nil:
		log.Warn("history not pruned as far as it should be", "error", err)
	case n > 0:
		log.Info("history pruned")
	}
}

// retention is how long events are to stay, 0 if it is for ever.
func retention(h config.History) time.Duration {
	if !h.Persist {
		return forgetAfter
	}
	return h.Retention
}

// PruneHistory takes out of the history what is older than the config's history block
// wants, and answers how many events went. A process whose scheduler runs does so by
// itself. Any number of processes may: what is gone already is nobody's business any more.
func (kr *Keyrotor) PruneHistory(ctx context.Context) (uint64, error) {
	keep := retention(kr.Config.History)
	if keep == 0 {
		return 0, nil
	}
	now, err := kr.store.Now(ctx)
	if err != nil {
		return 0, err
	}
	// This process may have opened the store longer ago than that.
	if err := kr.Notifier.Subscribe(ctx); err != nil {
		return 0, err
	}
	if err := kr.store.Sweep(ctx, time.Time{}, now.Add(-unseen)); err != nil {
		return 0, err
	}
	return kr.store.Prune(ctx, store.Prune{Before: now.Add(-keep), Actor: kr.actor, Operation: uuid.NewString()})
}

// RecentEvents answers events as History does, from this process's memory, which has as
// many of the newest ones as max_events of the config's history block says. It takes in
// what is new, in each call and every minute while the scheduler runs; when the store
// cannot be read, the answer is from what it has. Events of a newer build that this one
// cannot read are left out.
func (kr *Keyrotor) RecentEvents(ctx context.Context, q history.Query) (history.Page, error) {
	kr.readRecent(ctx)
	return kr.recent.Events(q)
}

// readRecent takes in what was committed since the last time, in whichever process.
func (kr *Keyrotor) readRecent(ctx context.Context) {
	kr.reading.Lock()
	defer kr.reading.Unlock()
	if err := kr.readFeed(ctx); err != nil && ctx.Err() == nil {
		kr.Scheduler.Log.Debug("not all of the newest events are in memory", "error", err)
	}
}

// readFeed passes over what cannot be read, and says so.
func (kr *Keyrotor) readFeed(ctx context.Context) error {
	var errs []error
	end, err := kr.store.FeedEnd(ctx)
	if err != nil {
		return err
	}
	at := end
	at.Event = max(kr.recent.Last(), end.Event-min(end.Event, uint64(kr.recent.Size())))
	for at.Event < end.Event {
		batch, err := kr.store.After(ctx, at, store.MaxEvents)
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			if err := kr.recent.Add(e.Bytes); err != nil {
				errs = append(errs, err)
			}
		}
		at = batch.To
	}
	return errors.Join(errs...)
}

// HistoryRecord reads one event by its number, or the leaf that retention has left of it,
// with the proof that it is part of the log as it was when it had size events; 0 is as many
// as it has. Proofs of several events lead to one root if they are asked for with one size.
// history.ErrNoEvent.
func (kr *Keyrotor) HistoryRecord(ctx context.Context, seq, size uint64) (history.Record, error) {
	return kr.store.Record(ctx, seq, size)
}

// HistoryExtent is how much there is of the history.
func (kr *Keyrotor) HistoryExtent(ctx context.Context) (history.Extent, error) {
	return kr.store.Extent(ctx)
}

// HistoryStats counts the events that a query selects, whatever its Limit.
func (kr *Keyrotor) HistoryStats(ctx context.Context, q history.Query) (history.Stats, error) {
	var s history.Stats
	err := history.Walk(ctx, kr.History, q, s.Add)
	return s, err
}
