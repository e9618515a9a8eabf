package engine

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/outage"
)

// The details of the events degraded and recovered. The names are final, and so is what
// stands there: times as RFC 3339, spans as Go writes them, names with commas between.
//
// Both events are about one KEK in one process: provider, kek_id and process say which.
// If kek_version is set, access to that version of it was taken away, for the reason in
// error_code; else it did not answer for longer than its ttl. Count is how many keys
// have something open under it. What began and what ended it share an operation id.
const (
	detailKEKID   = "kek_id"
	detailProcess = "process"
	// detailSince is when the KEK last opened a wrap for this process.
	detailSince = "since"
	// detailUntil, detailTTL and detailGrace are those of the key that stops working
	// first. There are none where access was taken away, which gets no grace.
	detailUntil = "until"
	detailTTL   = "ttl"
	detailGrace = "grace"
	// detailKeys are the first keys by name, at most maxNamed of them.
	detailKeys = "keys"
	// detailRevoked is "true" where access was taken away: a KEK's version may be
	// unknown.
	detailRevoked = "revoked"
	// detailUnused is "true" if it ended because nothing relies on the KEK any more.
	detailUnused = "unused"
)

// maxNamed bounds the keys that an event names.
const maxNamed = 50

// settle acts on what became different with a KEK. The caller holds mu.
func (m *monitor) settle(kek *kek, changes []outage.Change, now time.Time) {
	for _, c := range changes {
		m.log(kek, c)
		switch c.Kind {
		case outage.Entered:
			id := uuid.NewString()
			kek.operations[trouble{c.Revoked, c.KEKVersion}] = id
			m.recorder.add(m.event(kek, c, id, history.Degraded, now))
			if c.Revoked {
				m.closeUnheld(kek, now)
			}
		case outage.Spent:
			m.closeUnheld(kek, now)
		case outage.Left:
			about := trouble{c.Revoked, c.KEKVersion}
			m.recorder.add(m.event(kek, c, kek.operations[about], history.Recovered, now))
			delete(kek.operations, about)
		}
	}
}

func (m *monitor) event(kek *kek, c outage.Change, operation string, t history.Type, now time.Time) history.Event {
	e := history.Event{
		Type: t, Time: now, Actor: m.engine.rotator.Actor, Operation: operation,
		Provider: kek.id.Provider, KEKVersion: c.KEKVersion, Count: uint64(len(c.Keys)), ErrorCode: string(c.Code),
		Details: map[string]string{
			detailKEKID: kek.id.KEK, detailProcess: m.engine.owner,
			detailSince: c.Since.UTC().Format(time.RFC3339Nano),
			detailKeys:  strings.Join(c.Keys[:min(len(c.Keys), maxNamed)], ","),
		},
	}
	if !c.Until.IsZero() {
		e.Details[detailUntil] = c.Until.UTC().Format(time.RFC3339Nano)
		e.Details[detailTTL], e.Details[detailGrace] = c.Budget.TTL.String(), c.Budget.Grace.String()
	}
	if c.Revoked {
		e.Details[detailRevoked] = "true"
	}
	if c.Unused {
		e.Details[detailUnused] = "true"
	}
	return e
}

func (m *monitor) log(kek *kek, c outage.Change) {
	log := m.engine.log.With("provider", kek.id.Provider, "kek", kek.id.KEK, "keys", len(c.Keys))
	switch {
	case c.Kind == outage.Entered && c.Revoked:
		log.Error("access to the key-encryption key was taken away: what only it opens is closed", "kek_version", c.KEKVersion, "code", c.Code)
	case c.Kind == outage.Entered:
		log.Warn("the key manager does not answer: everything goes on until its budget is spent", "code", c.Code, "since", c.Since, "until", c.Until)
	case c.Kind == outage.Spent:
		log.Error("the key manager does not answer and the outage budget is spent: what only it opens is closed", "code", c.Code, "since", c.Since)
	case c.Unused:
		log.Info("nothing needs the key manager any more")
	default:
		log.Info("the key manager opens wraps again", "since", c.Since)
	}
}
