package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// story is an error with what led to it.
func (a *account) story(err error) string {
	const steps = 40
	trace := a.trace[max(0, len(a.trace)-steps):]
	return fmt.Sprintf("key %s: %v\n%s", a.name, err, strings.Join(trace, "\n"))
}

// allKnow: every process has caught up with the store, and holds no uses of a version
// that is not the primary.
func (a *account) allKnow() {
	for i := range a.views {
		if a.views[i].met {
			a.views[i].from = len(a.past) - 1
		}
		a.outdated(i)
	}
}

// audit compares what the store holds in the end with the model: the record, its
// digest, and the history, event by event.
func (a *account) audit(ctx context.Context, s store.Store) error {
	stored, err := s.Key(ctx, a.name)
	if err != nil {
		return err
	}
	if err := stored.Verify(s.ID(), stored.LastDigest); err != nil {
		return errors.New(a.story(err))
	}
	if err := a.settleDescription(result{Record: recordOf(stored).String(), Uses: tallies(stored)}); err != nil {
		return errors.New(a.story(err))
	}
	if err := storetest.CheckLog(ctx, s); err != nil {
		return err
	}
	intents, err := s.Intents(ctx)
	if err != nil {
		return err
	}
	for _, in := range intents {
		if in.Key == a.name && !a.claimed {
			return errors.New(a.story(fmt.Errorf("a claim is left: %+v", in)))
		}
	}
	return a.compareEvents(ctx, s)
}

// compareEvents holds the key's history against the model's.
func (a *account) compareEvents(ctx context.Context, s store.Events) error {
	events, err := eventsOf(ctx, s, a.name)
	if err != nil {
		return err
	}
	if !slices.Equal(events, a.events) {
		return errors.New(a.story(fmt.Errorf("the history is\n%q\nwant\n%q", events, a.events)))
	}
	return nil
}

// eventsOf reads the history of a key in the model's words, oldest first.
func eventsOf(ctx context.Context, s store.Events, key string) ([]string, error) {
	var list []string
	for q := (history.Query{Key: key, Limit: store.MaxEvents}); ; {
		page, before, err := eventPage(ctx, s, q)
		if err != nil {
			return nil, err
		}
		list = append(page, list...)
		if q.Before = before; before == 0 {
			return list, nil
		}
	}
}

// eventPage reads one page of it, and answers where the page before begins. Rotations
// that failed are left out, since they change nothing, and so is what moves wraps.
func eventPage(ctx context.Context, s store.Events, q history.Query) (list []string, before uint64, err error) {
	page, err := s.Events(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	for _, raw := range page.Events {
		e, err := history.Decode(raw)
		if err != nil {
			return nil, 0, err
		}
		if w := words(e); w != "" {
			list = append(list, w)
		}
	}
	slices.Reverse(list)
	return list, page.Next, nil
}

func words(e history.Event) string {
	switch e.Type {
	case history.Creation:
		return fmt.Sprintf("creation of %d", e.Version)
	case history.Rotation:
		return fmt.Sprintf("rotation from %d to %d", e.PreviousVersion, e.Version)
	case history.StateChange:
		return fmt.Sprintf("state of %d from %s to %s", e.Version, e.Details["from"], e.Details["to"])
	case history.DestroyScheduled:
		return fmt.Sprintf("destroy_scheduled of %d, was %s", e.Version, e.Details["from"])
	case history.DestroyCanceled:
		return fmt.Sprintf("destroy_canceled of %d, is %s", e.Version, e.Details["to"])
	case history.Destroyed:
		return fmt.Sprintf("destroyed %d", e.Version)
	case history.Restored:
		return fmt.Sprintf("restored at %d", e.Version)
	case history.RotationFailed, history.Rewrapped, history.ProviderAdded, history.ProviderRetired:
		return ""
	case history.ConfigChange:
		var changes []string
		for name, value := range e.Details {
			// Which providers wrap is not the model's.
			if setting, ok := strings.CutSuffix(name, ".new"); ok && setting != "wrap_with" {
				changes = append(changes, fmt.Sprintf("%s from %s to %s", setting, e.Details[setting+".old"], value))
			}
		}
		slices.Sort(changes)
		return strings.Join(changes, ", ")
	default:
		return string(e.Type)
	}
}
