package doctor

import (
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

func TestRetention(t *testing.T) {
	old := func(typ history.Type, key, operation string) history.Event {
		return history.Event{Type: typ, Key: key, Operation: operation, Time: noon.Add(-11*day - time.Second)}
	}
	fresh := history.Event{Type: history.Usage, Key: "payments", Time: noon.Add(-11 * day)}
	passed := func(target string, event uint64) store.Subscriber {
		return store.Subscriber{Subscription: store.Subscription{Target: target}, Position: store.Position{Event: event}}
	}
	const (
		fine    = "ok history.retention [] no event is there that the config, which keeps them 10 days, has had go for a day\n"
		byHand  = "  -> run `keyrotor serve` as a service, or start the scheduler of one of your own, whose log tells why if that fails; else run `keyrotor history prune` once a day\n"
		byHands = "  -> run `keyrotor serve` as a service, or start the scheduler of one of your own with its notifier; else run `keyrotor notify deliver` and `keyrotor history prune` once a day\n"
	)
	for name, c := range map[string]struct {
		keep        time.Duration
		subscribers []store.Subscriber
		events      []history.Event
		want        string
	}{
		"for ever":  {0, nil, []history.Event{old(history.Access, "", "")}, "ok history.retention [] the config keeps events for ever\n"},
		"no events": {10 * day, nil, nil, fine},
		"what stays": {10 * day, nil, []history.Event{
			old(history.Destroyed, "payments", ""), old(history.Pruned, "", ""), old(history.Degraded, "", "lasts"), fresh, fresh,
			old(history.Usage, "orders", ""), old(history.Destroyed, "cards", ""),
		}, fine},
		"not yet": {11 * day, nil, []history.Event{old(history.Access, "", ""), fresh}, "ok history.retention [] no event is there that the config, which keeps them 11 days, has had go for a day\n"},
		"overdue": {
			10 * day,
			[]store.Subscriber{passed("quick", 9), passed("slow", 3)},
			[]history.Event{
				old(history.Usage, "payments", ""), old(history.Degraded, "", "a"), old(history.Recovered, "", "a"), // all of them
				old(history.Usage, "payments", ""), fresh, old(history.Access, "", ""), // the slow target has not passed the first and the last
			},
			"warn history.retention [] 3 events are older than the 10 days that the config keeps them, the oldest of 2026-02-18T11:59:59Z: nobody takes them out\n" + byHand,
		},
		"held": {
			10 * day,
			[]store.Subscriber{passed("quick", 9), passed("slow", 0)},
			[]history.Event{old(history.Usage, "payments", ""), fresh},
			"warn history.retention [slow] 1 event is older than the 10 days that the config keeps them, the oldest of 2026-02-18T11:59:59Z: this target was not told of them\n" + byHands,
		},
	} {
		r := NewRetention(c.keep, noon, c.subscribers)
		if _, lineage := History(t.Context(), written(t, c.events...), noon, r); lineage == nil {
			t.Fatalf("%s: the log cannot be read", name)
		}
		expect(t, name, []Finding{r.Finding()}, c.want)
	}
}
