package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// TestEarlierVersions opens a database of each version of the schema, and reads
// everything in it. With -update the one of the newest version is written anew,
// which is right only as long as that version was not released; the others are
// what their builds wrote.
func TestEarlierVersions(t *testing.T) {
	if *update {
		writeNewest(t, filepath.Join("testdata", newest+".db"))
	}
	for _, version := range []string{"v1", "v2", "v3", newest} {
		t.Run(version, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "earlier.db")
			b, err := os.ReadFile(filepath.Join("testdata", version+".db"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openAt(t, path, nil)
			if err := storetest.CheckLog(t.Context(), s); err != nil {
				t.Error(err)
			}
			golden(t, version+".txt", dump(t, s))
			worksOn(t, s)
		})
	}
}

// newest is the version of the schema that this build writes.
const newest = "v4"

// worksOn changes an earlier database.
func worksOn(t *testing.T, s *Store) {
	t.Helper()
	before, err := s.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Return(t.Context(), store.Lease{ID: 1, Count: 64}, 0); err != nil {
		t.Fatal(err)
	}
	if after := rotate(t, s, "payments"); after.Primary != before.Primary+1 {
		t.Errorf("rotated from %d to %d", before.Primary, after.Primary)
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// dump is everything that a store answers.
func dump(t *testing.T, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	size, root, err := s.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "store %v\nroot %v of %d events\n", s.ID(), root, size)
	names, err := s.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		k, err := s.Key(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\nkey %s, id %v, created %v\n  digest %v, in the last event %s\n", k.Name, k.ID, k.Created, k.Digest(s.ID()), k.LastDigest)
		set := k.Settings
		fmt.Fprintf(&b, "  settings {Algorithm:%s MinDecryptVersion:%d HardLimit:%d WrapWith:%v}\n  primary %d\n",
			set.Algorithm, set.MinDecryptVersion, set.HardLimit, set.WrapWith, k.Primary)
		if set.BlockReads {
			fmt.Fprintln(&b, "  blocks reads of compromised versions")
		}
		for _, v := range k.Versions {
			fmt.Fprintf(&b, "  version %d, label %s, %s, %s, reason %s, kcv %v, uses %d\n    created %v\n    activated %v\n    state changed %v\n",
				v.Number, v.Label, v.State, v.Algorithm, v.Reason, v.KCV, k.Uses[v.Number], v.Created, v.Activated, v.StateChanged)
			if n, err := s.Attempts(t.Context(), name, v.Number); err != nil {
				t.Fatal(err)
			} else if n > 0 {
				fmt.Fprintf(&b, "    %d attempts\n", n)
			}
			if n := k.Reencrypted[v.Number]; n > 0 {
				fmt.Fprintf(&b, "    %d by re-encryption\n", n)
			}
			for _, w := range v.Wraps {
				fmt.Fprintf(&b, "    wrap by %s, kek %s, version %s, created %v\n      %x\n", w.Provider, w.KEKID, w.KEKVersion, w.Created, w.Blob)
			}
		}
	}
	intents, err := s.Intents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&b)
	for _, in := range intents {
		fmt.Fprintf(&b, "intent {Key:%s Kind:%s Operation:%s Owner:%s Token:%d Started:%v Expires:%v}%s\n",
			in.Key, in.Kind, in.Operation, in.Owner, in.Token, in.Started, in.Expires, in.Detail)
	}
	dumpPolicies(t, s, &b)
	dumpOutbox(t, s, &b)
	page, err := s.Events(t.Context(), history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Events {
		fmt.Fprintf(&b, "event %s\n", e)
	}
	return b.Bytes()
}

func dumpPolicies(t *testing.T, s *Store, b *bytes.Buffer) {
	t.Helper()
	checks, err := s.Checks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		fmt.Fprintf(b, "check %+v\n", c)
	}
	schedulers, err := s.Schedulers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range schedulers {
		fmt.Fprintf(b, "scheduler %+v\n", c)
	}
}

func dumpOutbox(t *testing.T, s *Store, b *bytes.Buffer) {
	t.Helper()
	subscribers, err := s.Subscribers(t.Context(), "notify")
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range subscribers {
		fmt.Fprintf(b, "subscriber %+v\n", sub)
		heads, next, err := s.Heads(t.Context(), sub.Subscription, 10)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, "heads %+v, next %v\n", heads, next)
		batch, err := s.After(t.Context(), store.Position{}, 1)
		if err != nil || len(batch.Notices) != 1 {
			t.Fatal(batch, err)
		}
		fmt.Fprintf(b, "notice %d %s %s\n", batch.Notices[0].Number, batch.Notices[0].ID, batch.Notices[0].Bytes)
	}
}

func writeNewest(t *testing.T, path string) {
	t.Helper()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	now := func() time.Time { clock = clock.Add(time.Second); return clock }
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Path: path, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "orders")
	create(t, s, "payments")
	rotate(t, s, "payments")
	rotate(t, s, "payments")
	_, err = s.Update(t.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
		for _, to := range []keyring.State{keyring.Quarantined, keyring.Destroyed} {
			if err := r.SetState(1, to, now()); err != nil {
				return nil, err
			}
		}
		return []history.Event{{Type: history.Destroyed, Version: 1, Note: "über <alle> \"Maßen\"", Details: map[string]string{"census": "0"}}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "p1", Count: 64, TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Operation: "op", Owner: "p1", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	writeLifecycle(t, s)
	writePolicies(t, s)
	writeNotices(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// writeLifecycle uses what version 2 added.
func writeLifecycle(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.Update(t.Context(), store.Update{Name: "orders", Apply: func(r *keyring.Record) ([]history.Event, error) {
		r.Settings.BlockReads = true
		return []history.Event{{Type: history.ConfigChange, Details: map[string]string{"block_reads": "true"}}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CountAttempts(t.Context(), "payments", 2, 3); err != nil {
		t.Fatal(err)
	}
	claim := store.Claim{Key: "kek/local", Kind: "rotate-kek", Operation: "op2", Owner: "p1", TTL: time.Minute, Detail: `{"expected":"1"}`}
	if _, err := s.Begin(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	event := history.Event{Type: history.KEKRotated, Provider: "local", KEKVersion: "2"}
	if err := s.Append(t.Context(), nil, []history.Event{event}); err != nil {
		t.Fatal(err)
	}
}

// writePolicies uses what version 3 added.
func writePolicies(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "orders", Owner: "p1", Count: 32, TTL: time.Minute, Reencrypting: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Update(t.Context(), store.Update{
		Name: "orders", Due: &store.DueSlot{Policy: "rotation", Slot: "v1@1"},
		Apply: func(*keyring.Record) ([]history.Event, error) { return []history.Event{{Type: history.Usage}}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	check := store.PolicyCheck{Key: "orders", Policy: "rotation", Checked: at, Next: at.Add(time.Hour), Why: "an hour is left"}
	err = s.RecordChecks(t.Context(), store.SchedulerCheck{Owner: "p1", Started: at, Interval: time.Minute, Checked: at, Keys: 2}, []store.PolicyCheck{check})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecordFailure(t.Context(), "payments", "rotation", "denied", at.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

// writeNotices uses what version 4 added, and the outbox of version 1.
func writeNotices(t *testing.T, s *Store) {
	t.Helper()
	to := store.Subscription{Topic: "notify", Target: "webhook"}
	if err := s.Subscribe(t.Context(), to.Topic, to.Target); err != nil {
		t.Fatal(err)
	}
	from, err := s.FeedEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Notify(t.Context(), store.Notice{ID: "due/orders", Bytes: []byte(`{"schema":1,"type":"rotation_due_soon"}`)}); err != nil {
		t.Fatal(err)
	}
	err = s.Route(t.Context(), to, from, store.Position{Event: from.Event, Notice: 1}, []store.Delivery{
		{OrderKey: "orders", Idempotency: "due/orders", Payload: []byte("{}")},
		{OrderKey: "orders", Idempotency: "7", Event: 7, Payload: []byte("{}")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Hold(t.Context(), to, "p1", time.Minute); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	if err := s.Settle(t.Context(), to, "p1", []store.Settled{{ID: 1, Next: at, Error: "500"}}); err != nil {
		t.Fatal(err)
	}
}
