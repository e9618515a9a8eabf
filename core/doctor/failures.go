package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/rotation"
)

const (
	rotationErrors  check = "rotation.errors"
	rotationOutages check = "rotation.outages"
)

// EventReader is the part of a store that Errors reads.
type EventReader interface {
	Events(ctx context.Context, q history.Query) (history.Page, error)
}

// Errors looks through the history of the last days: which rotations failed and have not
// succeeded since, and which key managers failed and have not recovered. An outage may have
// begun before: retention leaves the event in place until there is that of its end.
func Errors(ctx context.Context, r EventReader, now time.Time) []Finding {
	since := now.Add(-recent)
	failed, err := events(ctx, r, history.RotationFailed, since)
	if err != nil {
		return []Finding{rotationErrors.fail("", err.Error(), restore)}
	}
	rotated, err := events(ctx, r, history.Rotation, since)
	if err != nil {
		return []Finding{rotationErrors.fail("", err.Error(), restore)}
	}
	findings := rotationFailures(failed, rotated)
	degraded, err := events(ctx, r, history.Degraded, time.Time{})
	if err != nil {
		return append(findings, rotationOutages.fail("", err.Error(), restore))
	}
	recovered, err := events(ctx, r, history.Recovered, time.Time{})
	if err != nil {
		return append(findings, rotationOutages.fail("", err.Error(), restore))
	}
	return append(findings, outages(degraded, recovered, since)...)
}

// events answers those of a type, newest first. One of a newer build is passed over: the
// checks of the history tell of it.
func events(ctx context.Context, r EventReader, t history.Type, since time.Time) (list []history.Event, err error) {
	q := history.Query{Type: t, Since: since}
	for {
		page, err := r.Events(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, b := range page.Events {
			if e, err := history.Decode(b); err == nil {
				list = append(list, e)
			}
		}
		if page.Next == 0 {
			return list, nil
		}
		q.Before = page.Next
	}
}

// failure is a key whose rotations failed with a code.
type failure struct {
	key, code string
	times     int
	last      history.Event
}

// rotationFailures groups failures by key and code. A lost race, or a process that was
// told to stop, is none.
func rotationFailures(failed, rotated []history.Event) []Finding {
	success := make(map[string]uint64)
	for _, e := range rotated {
		success[e.Key] = max(success[e.Key], e.Seq)
	}
	groups := make(map[[2]string]*failure)
	overcome := 0
	for _, e := range failed {
		if e.ErrorCode == "rotated" || e.ErrorCode == "canceled" {
			continue
		}
		if e.Seq < success[e.Key] {
			overcome++
			continue
		}
		id := [2]string{e.Key, e.ErrorCode}
		if groups[id] == nil {
			groups[id] = &failure{key: e.Key, code: e.ErrorCode, last: e}
		}
		groups[id].times++
	}
	if len(groups) == 0 {
		return []Finding{rotationErrors.ok("", "no key has a failed rotation of the last 7 days that none has succeeded after; %s succeeded after", overcomeText(overcome))}
	}
	var findings []Finding
	for _, g := range sortedFailures(groups) {
		findings = append(findings, rotationErrors.warn(g.key,
			fmt.Sprintf("%s failed with the code %s, the last at %s by %s, and none has succeeded since", count(g.times, "rotation"), g.code, timeText(g.last.Time), g.last.Actor),
			remedy(g.key, g.code)))
	}
	return findings
}

func overcomeText(n int) string {
	if n == 1 {
		return "1 rotation failed, and another one"
	}
	return fmt.Sprintf("%d rotations failed, and others", n)
}

func sortedFailures(groups map[[2]string]*failure) (list []*failure) {
	for _, g := range groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *failure) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.code, b.code))
	})
	return list
}

// remedy is what to do about a code, see [rotation.ErrorCode].
func remedy(key, code string) string {
	again := fmt.Sprintf("then run `keyrotor key rotate %s`", key)
	switch code {
	case "denied", "unauthenticated":
		return "give the identity of the provider the rights that its page lists, and look whether its credentials are valid; " + again
	case "unavailable", "throttled", "timeout", "plugin_crashed":
		return "look whether the key manager answers: `keyrotor provider check` tells; " + again
	case "invalid_state", "not_found_key", "not_found_version":
		return "look at the key-encryption key: `keyrotor kek show PROVIDER` tells its state; " + again
	case "store_full", "store_busy", "store_read_only", "store_corrupt":
		return "look at what doctor says of the store; " + again
	default:
		return fmt.Sprintf("run `keyrotor key rotate %s`: it shows the error whole", key)
	}
}

// outages tells of key managers that failed a process, and have not recovered for it. One
// whose process is gone is over. Of one that began before since it is only known whether it
// lasts if its process runs here: on another machine that may have been killed long ago.
func outages(degraded, recovered []history.Event, since time.Time) []Finding {
	over := make(map[string]bool)
	for _, e := range recovered {
		over[e.Operation] = true
	}
	var findings []Finding
	ended := 0
	for _, e := range degraded {
		process, old := e.Details["process"], e.Time.Before(since)
		owner := rotation.ParseOwner(process)
		switch {
		case old && (over[e.Operation] || !owner.Runs()):
			continue
		case over[e.Operation] || owner.Gone():
			ended++
			continue
		}
		evidence := fmt.Sprintf("since %s it fails process %s of %s, with the code %s; %s affected", timeText(e.Time), process, e.Actor, strings.ToLower(e.ErrorCode), isAre(int(e.Count), "key"))
		next := fmt.Sprintf("run `keyrotor provider check %s`; the process goes on by itself when the key manager answers", e.Provider)
		if e.Details["revoked"] == "true" {
			evidence = "access was taken away: " + evidence
			next = fmt.Sprintf("if that was not meant, give the access back, and run `keyrotor provider check %s`", e.Provider)
		}
		findings = append(findings, rotationOutages.warn(e.Provider, evidence, next))
	}
	if len(findings) > 0 {
		return findings
	}
	return []Finding{rotationOutages.ok("", "no process is without its key manager; %s in the last 7 days ended", count(ended, "outage"))}
}
