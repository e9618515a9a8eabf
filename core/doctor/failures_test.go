package doctor

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// past answers events as a store does, a few at a time.
type past struct {
	events []history.Event
	errOf  map[history.Type]error
}

func (p past) Events(_ context.Context, q history.Query) (history.Page, error) {
	const atOnce = 2
	var page history.Page
	for i, e := range slices.Backward(p.events) {
		e.Seq = uint64(i + 1)
		if e.Type != q.Type || e.Time.Before(q.Since) || q.Before != 0 && e.Seq >= q.Before {
			continue
		}
		if len(page.Events) == atOnce {
			page.Next = e.Seq + 1
			break
		}
		b, err := e.Encode()
		if err != nil {
			panic(err)
		}
		page.Events = append(page.Events, json.RawMessage(b))
	}
	return page, p.errOf[q.Type]
}

func TestErrors(t *testing.T) {
	const (
		noErrors  = "ok rotation.errors [] no key has a failed rotation of the last 7 days that none has succeeded after; 0 rotations failed, and others succeeded after\n"
		noOutages = "ok rotation.outages [] no process is without its key manager; 0 outages in the last 7 days ended\n"
	)
	failed := func(key, code string, ago time.Duration) history.Event {
		return history.Event{Type: history.RotationFailed, Key: key, ErrorCode: code, Time: noon.Add(-ago), Actor: "ops@host"}
	}
	rotated := func(key string, ago time.Duration) history.Event {
		return history.Event{Type: history.Rotation, Key: key, Time: noon.Add(-ago)}
	}
	outage := func(t history.Type, operation string, details ...string) history.Event {
		e := history.Event{
			Type: t, Operation: operation, Provider: "prod", ErrorCode: "UNAVAILABLE", Count: 2, Time: noon.Add(-time.Hour), Actor: "billing",
			Details: map[string]string{"process": "elsewhere/7/1"},
		}
		for i := 0; i < len(details); i += 2 {
			e.Details[details[i]] = details[i+1]
		}
		return e
	}
	before := func(e history.Event) history.Event {
		e.Time = e.Time.Add(-30 * day)
		return e
	}
	here := rotation.CurrentOwner().String()
	for name, c := range map[string]struct {
		past past
		want string
	}{
		"nothing": {past{}, noErrors + noOutages},
		"long ago, lost races and stops": {past{events: []history.Event{
			failed("payments", "denied", 8*day), failed("payments", "rotated", time.Hour), failed("payments", "canceled", time.Hour),
		}}, noErrors + noOutages},
		"overcome": {
			past{events: []history.Event{failed("payments", "denied", 3*day), rotated("payments", 2*day), rotated("orders", day)}},
			"ok rotation.errors [] no key has a failed rotation of the last 7 days that none has succeeded after; 1 rotation failed, and another one succeeded after\n" + noOutages,
		},
		"by key and code": {past{events: []history.Event{
			failed("payments", "unavailable", 6*day), rotated("payments", 5*day), failed("payments", "denied", 3*day), failed("payments", "denied", 2*day),
			failed("payments", "denied", day), failed("payments", "store_full", time.Hour), failed("orders", "integrity", time.Hour), rotated("cards", time.Minute),
			failed("orders", "invalid_state", time.Minute), failed("cards", "throttled", 0),
		}}, `
warn rotation.errors [cards] 1 rotation failed with the code throttled, the last at 2026-03-01T12:00:00Z by ops@host, and none has succeeded since
  -> look whether the key manager answers: `[1:] + "`keyrotor provider check` tells; then run `keyrotor key rotate cards`" + `
warn rotation.errors [orders] 1 rotation failed with the code integrity, the last at 2026-03-01T11:00:00Z by ops@host, and none has succeeded since
  -> run ` + "`keyrotor key rotate orders`" + `: it shows the error whole
warn rotation.errors [orders] 1 rotation failed with the code invalid_state, the last at 2026-03-01T11:59:00Z by ops@host, and none has succeeded since
  -> look at the key-encryption key: ` + "`keyrotor kek show PROVIDER` tells its state; then run `keyrotor key rotate orders`" + `
warn rotation.errors [payments] 3 rotations failed with the code denied, the last at 2026-02-28T12:00:00Z by ops@host, and none has succeeded since
  -> give the identity of the provider the rights that its page lists, and look whether its credentials are valid; then run ` + "`keyrotor key rotate payments`" + `
warn rotation.errors [payments] 1 rotation failed with the code store_full, the last at 2026-03-01T11:00:00Z by ops@host, and none has succeeded since
  -> look at what doctor says of the store; then run ` + "`keyrotor key rotate payments`" + `
` + noOutages},
		"outages": {past{events: []history.Event{
			outage(history.Degraded, "1"), outage(history.Recovered, "1"), outage(history.Degraded, "2"), outage(history.Degraded, "3", "revoked", "true"),
		}}, noErrors + `
warn rotation.outages [prod] access was taken away: since 2026-03-01T11:00:00Z it fails process elsewhere/7/1 of billing, with the code unavailable; 2 keys are affected
  -> if that was not meant, give the access back, and run `[1:] + "`keyrotor provider check prod`" + `
warn rotation.outages [prod] since 2026-03-01T11:00:00Z it fails process elsewhere/7/1 of billing, with the code unavailable; 2 keys are affected
  -> run ` + "`keyrotor provider check prod`" + `; the process goes on by itself when the key manager answers
`},
		"long ago": {past{events: []history.Event{
			before(outage(history.Degraded, "1")), before(outage(history.Degraded, "2", "process", gone(t))),
			before(outage(history.Degraded, "3", "process", here)), outage(history.Recovered, "3"),
		}}, noErrors + noOutages},
		"since long ago": {past{events: []history.Event{before(outage(history.Degraded, "1", "process", here))}}, noErrors + `
warn rotation.outages [prod] since 2026-01-30T11:00:00Z it fails process `[1:] + here + ` of billing, with the code unavailable; 2 keys are affected
  -> run ` + "`keyrotor provider check prod`" + `; the process goes on by itself when the key manager answers
`},
		"its process is gone": {
			past{events: []history.Event{outage(history.Degraded, "1", "process", gone(t))}},
			noErrors + "ok rotation.outages [] no process is without its key manager; 1 outage in the last 7 days ended\n",
		},
		"failures unread":  {past{errOf: map[history.Type]error{history.RotationFailed: store.ErrCorrupt}}, "fail rotation.errors [] the store is damaged\n  -> RESTORE\n"},
		"rotations unread": {past{errOf: map[history.Type]error{history.Rotation: store.ErrCorrupt}}, "fail rotation.errors [] the store is damaged\n  -> RESTORE\n"},
		"outages unread":   {past{errOf: map[history.Type]error{history.Degraded: store.ErrCorrupt}}, noErrors + "fail rotation.outages [] the store is damaged\n  -> RESTORE\n"},
		"ends unread":      {past{errOf: map[history.Type]error{history.Recovered: store.ErrCorrupt}}, noErrors + "fail rotation.outages [] the store is damaged\n  -> RESTORE\n"},
	} {
		expect(t, name, Errors(t.Context(), c.past, noon), c.want)
	}
}
