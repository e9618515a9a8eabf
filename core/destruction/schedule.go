package destruction

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// Scheduled is a version in quarantine. Its JSON form is stable.
type Scheduled struct {
	Key     string `json:"key"`
	KeyID   string `json:"key_id"`
	Version uint32 `json:"version"`
	KCV     string `json:"kcv"`
	// From is the state that the version was in, and that canceling leads back to.
	From      keyring.State `json:"from"`
	Scheduled time.Time     `json:"scheduled"`
	Due       time.Time     `json:"due"`
	// Attempts are the decryptions that were refused since.
	Attempts  uint64 `json:"attempts"`
	Census    Census `json:"census"`
	Actor     string `json:"actor"`
	Note      string `json:"note,omitempty"`
	Operation string `json:"operation_id"`
}

// schedule is what the destroy_scheduled event of a version says. It is read from
// the history, which cannot be changed without a trace, and kept nowhere else.
type schedule struct {
	from           keyring.State
	scheduled, due time.Time
	// attempts is the version's count at the beginning.
	attempts uint64
	census   Census
}

// details are those of the event. The names are final.
func (s schedule) details() map[string]string {
	details := map[string]string{
		"from": string(s.from), "due": s.due.Format(time.RFC3339Nano), "attempts": strconv.FormatUint(s.attempts, 10),
	}
	s.census.details(details)
	return details
}

func (c Census) details(details map[string]string) {
	details["census.files"] = strconv.Itoa(c.Files)
	details["census.tokens"] = strconv.Itoa(c.Tokens)
	details["census.skipped"] = strconv.Itoa(c.Skipped)
}

// readCensus answers nil if the details have none.
func readCensus(details map[string]string) *Census {
	var c Census
	for name, n := range map[string]*int{"census.files": &c.Files, "census.tokens": &c.Tokens, "census.skipped": &c.Skipped} {
		var err error
		if *n, err = strconv.Atoi(details[name]); err != nil {
			return nil
		}
	}
	return &c
}

// schedule reads what the newest destroy_scheduled event says of a version in
// quarantine. keyring.ErrIntegrity if it is not the event that the version's state
// comes from.
func (d *Destroyer) schedule(ctx context.Context, name string, v *keyring.Version) (schedule, history.Event, error) {
	event, err := d.newest(ctx, history.DestroyScheduled, name, v.Number)
	if err != nil {
		return schedule{}, event, err
	}
	s, ok := readSchedule(event)
	if !ok || !event.Time.Equal(v.StateChanged) {
		return schedule{}, event, fmt.Errorf("%w: version %d of key %q is in quarantine since %s, and its newest event of type %s says something else",
			keyring.ErrIntegrity, v.Number, name, v.StateChanged.Format(time.RFC3339Nano), history.DestroyScheduled)
	}
	return s, event, nil
}

func readSchedule(event history.Event) (schedule, bool) {
	s := schedule{from: keyring.State(event.Details["from"]), scheduled: event.Time}
	due, dueErr := time.Parse(time.RFC3339Nano, event.Details["due"])
	attempts, countErr := strconv.ParseUint(event.Details["attempts"], 10, 64)
	census := readCensus(event.Details)
	if dueErr != nil || countErr != nil || census == nil || !keyring.Quarantined.CanBecome(s.from) || s.from == keyring.Destroyed {
		return schedule{}, false
	}
	s.due, s.attempts, s.census = due, attempts, *census
	return s, true
}

// newest answers the newest event of a type about a version.
func (d *Destroyer) newest(ctx context.Context, t history.Type, name string, version uint32) (history.Event, error) {
	page, err := d.Store.Events(ctx, history.Query{Key: name, Version: version, Type: t, Limit: 1})
	if err != nil {
		return history.Event{}, err
	}
	if len(page.Events) == 0 {
		return history.Event{}, fmt.Errorf("%w: the history has no event of type %s about version %d of key %q", keyring.ErrIntegrity, t, version, name)
	}
	return history.Decode(page.Events[0])
}

// view is the schedule as others see it.
func (s schedule) view(rec *keyring.Record, v *keyring.Version, event history.Event) Scheduled {
	return Scheduled{
		Key: rec.Name, KeyID: rec.ID.String(), Version: v.Number, KCV: v.KCV.String(), From: s.from,
		Scheduled: s.scheduled, Due: s.due, Census: s.census, Actor: event.Actor, Note: event.Note, Operation: event.Operation,
	}
}

// List answers the versions in quarantine, in the order of key names and numbers.
func (d *Destroyer) List(ctx context.Context) ([]Scheduled, error) {
	names, err := d.Store.Names(ctx)
	if err != nil {
		return nil, err
	}
	list := []Scheduled{}
	for _, name := range names {
		key, err := d.Store.Key(ctx, name)
		if err != nil {
			return nil, err
		}
		for i := range key.Versions {
			v := &key.Versions[i]
			if v.State != keyring.Quarantined {
				continue
			}
			s, event, err := d.schedule(ctx, name, v)
			if err != nil {
				return nil, err
			}
			count, err := d.Store.Attempts(ctx, name, v.Number)
			if err != nil {
				return nil, err
			}
			view := s.view(&key.Record, v, event)
			view.Attempts = count - min(count, s.attempts)
			list = append(list, view)
		}
	}
	return list, nil
}
