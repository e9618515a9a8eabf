package doctor

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// feed is what is to be told.
type feed struct {
	subscribers []store.Subscriber
	after       store.Batch
	err         error
}

func (f feed) Subscribers(_ context.Context, topic string) ([]store.Subscriber, error) {
	if topic != notify.Topic {
		return nil, nil
	}
	return f.subscribers, f.err
}

func (f feed) After(_ context.Context, p store.Position, _ int) (store.Batch, error) {
	b := f.after
	if b.To = (store.Position{Event: 1, Notice: 1}); p == b.To {
		b = store.Batch{To: p}
	}
	return b, f.err
}

func TestNotify(t *testing.T) {
	target := func(name string, change func(*store.Subscriber)) store.Subscriber {
		s := store.Subscriber{
			Subscription: store.Subscription{Topic: notify.Topic, Target: name}, Owner: rotation.CurrentOwner().String(), Expires: noon.Add(time.Second),
		}
		change(&s)
		return s
	}
	at := func(ago time.Duration) []byte {
		b, err := (history.Event{Type: history.Creation, Version: 1, Key: "payments", Actor: "a@h", Time: noon.Add(-ago)}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	fine := func(*store.Subscriber) {}
	const byHand = "  -> run `keyrotor serve` as a service, or `keyrotor notify deliver` from time to time, or start the notifier of a service of your own\n"
	me := rotation.CurrentOwner().String()
	for name, c := range map[string]struct {
		feed       feed
		configured []notify.Target
		want       string
	}{
		"nothing": {feed{}, nil, "ok notify.delivery [] nothing is to be told to anybody\nok notify.subscribers [] 0 targets, all of the config\n"},
		"in order": {
			feed{subscribers: []store.Subscriber{
				target("ops", func(s *store.Subscriber) { s.Open, s.Failing, s.Oldest = 2, 1, noon.Add(-time.Minute) }), target("pager", fine),
			}, after: store.Batch{Events: []store.FeedEvent{{Seq: 1, Bytes: at(5 * time.Hour)}}}},
			[]notify.Target{{Name: "ops"}, {Name: "pager"}},
			"ok notify.delivery [ops] 2 notices are waiting; " + me + " delivers\nok notify.delivery [pager] 0 notices are waiting; " + me + " delivers\nok notify.subscribers [] 2 targets, all of the config\n",
		},
		"nobody, and nothing new for long": {
			feed{subscribers: []store.Subscriber{target("ops", func(s *store.Subscriber) { s.Owner = "" })}, after: store.Batch{Events: []store.FeedEvent{{Seq: 1, Bytes: at(time.Hour)}}}},
			[]notify.Target{{Name: "ops"}},
			"ok notify.delivery [ops] 0 notices are waiting\nok notify.subscribers [] 1 target, all of the config\n",
		},
		"nobody, and events": {
			feed{subscribers: []store.Subscriber{target("ops", func(s *store.Subscriber) { s.Expires = noon })}, after: store.Batch{
				Events: []store.FeedEvent{{Seq: 1, Bytes: at(2 * time.Hour)}}, Notices: []store.Notice{{ID: "n", Bytes: at(3 * time.Hour)}},
			}},
			[]notify.Target{{Name: "ops"}},
			"warn notify.delivery [ops] no process delivers, and it was not told what happened since 2026-03-01T09:00:00Z\n" + byHand + "ok notify.subscribers [] 1 target, all of the config\n",
		},
		"nobody, and events that it does not want": {
			feed{subscribers: []store.Subscriber{target("ops", func(s *store.Subscriber) { s.Owner = "" })}, after: store.Batch{Events: []store.FeedEvent{{Seq: 1, Bytes: at(2 * time.Hour)}}}},
			[]notify.Target{{Name: "ops", Keys: []string{"shop-*"}}},
			"ok notify.delivery [ops] 0 notices are waiting\nok notify.subscribers [] 1 target, all of the config\n",
		},
		"its process is gone, and there are rows": {
			feed{subscribers: []store.Subscriber{target("ops", func(s *store.Subscriber) {
				s.Owner, s.Open, s.Failing, s.Oldest, s.LastError = "", 3, 3, noon.Add(-2*time.Hour), "503 Service Unavailable"
			})}},
			[]notify.Target{{Name: "ops"}},
			"warn notify.delivery [ops] no process delivers, and it was not told what happened since 2026-03-01T10:00:00Z; the last error was: 503 Service Unavailable\n" + byHand + "ok notify.subscribers [] 1 target, all of the config\n",
		},
		"failing and given up": {
			feed{subscribers: []store.Subscriber{target("ops", func(s *store.Subscriber) {
				s.Open, s.Failing, s.Oldest, s.Terminal, s.LastError = 4, 1, noon.Add(-90*time.Minute), 2, "no route to host"
			})}},
			[]notify.Target{{Name: "ops"}},
			`
warn notify.delivery [ops] 1 notice is tried and not delivered, the oldest of all for 1h30m; the last error was: no route to host
  -> ` + "`keyrotor notify test ops`" + ` shows what it answers; they are tried again until they are given up
warn notify.delivery [ops] 2 notices are given up, and will not be delivered; the last error was: no route to host
  -> ` + "`keyrotor history list`" + ` has what happened; see why the target did not take them for so long
ok notify.subscribers [] 1 target, all of the config
`,
		},
		"others": {
			feed{subscribers: []store.Subscriber{target("old", func(s *store.Subscriber) { s.Open = 1 })}},
			[]notify.Target{{Name: "new"}},
			`
ok notify.delivery [] nothing is to be told to anybody
warn notify.subscribers [old] the store keeps what happens for it, with 1 open notice, and the config has no notify block of that name
  -> nothing, if its block was taken out: the store forgets it 30 days after a process last had it; else give the config the block again, or use the config of those who have it
warn notify.subscribers [new] the store does not know it yet, so that it may miss what happens
  -> ` + "`keyrotor notify list`" + ` makes it known, as every command does that opens the store and may write to it
`,
		},
		"damage": {feed{err: store.ErrCorrupt}, []notify.Target{{Name: "ops"}}, "fail notify.delivery [] the store is damaged\n  -> RESTORE\n"},
	} {
		expect(t, name, Notify(t.Context(), c.feed, c.configured, noon), c.want)
	}
	s := target("ops", func(s *store.Subscriber) { s.Owner, s.Open, s.Oldest = gone(t), 1, noon.Add(-2*time.Hour) })
	if f := Notify(t.Context(), feed{subscribers: []store.Subscriber{s}}, []notify.Target{{Name: "ops"}}, noon); runtime.GOOS == "linux" && f[0].Status != Warn {
		t.Errorf("its process is gone: %+v", f[0])
	}
}
