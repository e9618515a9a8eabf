package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	notifyDelivery    check = "notify.delivery"
	notifySubscribers check = "notify.subscribers"
)

// NotifyReader is the part of a store that Notify reads.
type NotifyReader interface {
	Subscribers(ctx context.Context, topic string) ([]store.Subscriber, error)
	After(ctx context.Context, p store.Position, limit int) (store.Batch, error)
}

// Notify looks whether what happens is told to the targets that the config has.
func Notify(ctx context.Context, r NotifyReader, configured []notify.Target, now time.Time) []Finding {
	known, err := r.Subscribers(ctx, notify.Topic)
	if err != nil {
		return []Finding{notifyDelivery.fail("", err.Error(), restore)}
	}
	var findings []Finding
	for _, t := range configured {
		i := slices.IndexFunc(known, func(s store.Subscriber) bool { return s.Target == t.Name })
		if i < 0 {
			continue // the finding below is about it
		}
		waiting, err := untold(ctx, r, known[i], t)
		if err != nil {
			findings = append(findings, notifyDelivery.fail(t.Name, err.Error(), restore))
			continue
		}
		findings = append(findings, delivery(known[i], waiting, now)...)
	}
	if len(findings) == 0 {
		findings = append(findings, notifyDelivery.ok("", "nothing is to be told to anybody"))
	}
	return append(findings, subscribers(known, configured)...)
}

// feedPage is how much of the feed is read at a time.
const feedPage = 500

// untold is when the first thing happened that the target wants to hear of and nobody has
// taken up; zero if there is none.
func untold(ctx context.Context, r NotifyReader, s store.Subscriber, t notify.Target) (first time.Time, err error) {
	note := func(bytes []byte) {
		e, err := history.Decode(bytes)
		if err != nil { // the checks of the history tell
			return
		}
		if n, told := notify.FromEvent(e); told && t.Wants(n) && (first.IsZero() || n.Time.Before(first)) {
			first = n.Time
		}
	}
	for p := s.Position; first.IsZero(); {
		b, err := r.After(ctx, p, feedPage)
		if err != nil || b.To == p {
			return first, err
		}
		for _, e := range b.Events {
			note(e.Bytes)
		}
		for _, n := range b.Notices {
			note(n.Bytes)
		}
		p = b.To
	}
	return first, nil
}

// delivery says how it stands with one target.
func delivery(s store.Subscriber, waiting, now time.Time) []Finding {
	const byHand = "run `keyrotor serve` as a service, or `keyrotor notify deliver` from time to time, or start the notifier of a service of your own"
	nobody := s.Owner == "" || !now.Before(s.Expires) || rotation.ParseOwner(s.Owner).Gone()
	if s.Open > 0 && (waiting.IsZero() || s.Oldest.Before(waiting)) {
		waiting = s.Oldest
	}
	why := ""
	if s.LastError != "" {
		why = "; the last error was: " + s.LastError
	}
	var findings []Finding
	switch {
	case nobody && !waiting.IsZero() && now.Sub(waiting) > backlog:
		findings = append(findings, notifyDelivery.warn(s.Target,
			fmt.Sprintf("no process delivers, and it was not told what happened since %s%s", timeText(waiting), why), byHand))
	case s.Failing > 0 && now.Sub(s.Oldest) > backlog:
		findings = append(findings, notifyDelivery.warn(s.Target,
			fmt.Sprintf("%s tried and not delivered, the oldest of all for %s%s", isAre(s.Failing, "notice"), ageText(now.Sub(s.Oldest)), why),
			fmt.Sprintf("`keyrotor notify test %s` shows what it answers; they are tried again until they are given up", s.Target)))
	}
	if s.Terminal > 0 {
		findings = append(findings, notifyDelivery.warn(s.Target,
			fmt.Sprintf("%s given up, and will not be delivered%s", isAre(s.Terminal, "notice"), why),
			"`keyrotor history list` has what happened; see why the target did not take them for so long"))
	}
	if len(findings) > 0 {
		return findings
	}
	by := ""
	if !nobody {
		by = "; " + s.Owner + " delivers"
	}
	return []Finding{notifyDelivery.ok(s.Target, "%s waiting%s", isAre(s.Open, "notice"), by)}
}

// subscribers compares the store's with those of the config.
func subscribers(known []store.Subscriber, configured []notify.Target) []Finding {
	var findings []Finding
	var missing []string
	for _, t := range configured {
		missing = append(missing, t.Name)
	}
	for _, s := range known {
		if i := slices.Index(missing, s.Target); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		} else {
			findings = append(findings, notifySubscribers.warn(s.Target,
				fmt.Sprintf("the store keeps what happens for it, with %s, and the config has no notify block of that name", count(s.Open, "open notice")),
				"nothing, if its block was taken out: the store forgets it 30 days after a process last had it; else give the config the block again, or use the config of those who have it"))
		}
	}
	if len(missing) > 0 {
		findings = append(findings, notifySubscribers.warn(strings.Join(missing, ", "),
			"the store does not know it yet, so that it may miss what happens",
			"`keyrotor notify list` makes it known, as every command does that opens the store and may write to it"))
	}
	if len(findings) == 0 {
		findings = append(findings, notifySubscribers.ok("", "%s, all of the config", count(len(known), "target")))
	}
	return findings
}
