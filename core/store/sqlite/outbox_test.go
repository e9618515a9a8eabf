package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// TestOutboxPlans: what is asked every second, and by every scrape of metrics, finds its
// rows by an index that has no others, however many are done.
func TestOutboxPlans(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "k.db"), nil)
	const (
		open     = "outbox USING COVERING INDEX outbox_open ("
		terminal = "outbox USING INDEX outbox_terminal ("
		counted  = "outbox USING COVERING INDEX outbox_terminal ("
		byID     = "o USING INTEGER PRIMARY KEY ("
	)
	for name, c := range map[string]struct {
		query string
		args  []any
		want  []string
	}{
		"heads":    {headsQuery, []any{"notify", "ops", 0, 10, 1}, []string{open, byID}},
		"standing": {standingQuery, []any{"notify", "ops"}, []string{open, byID, counted, terminal}},
		"sweep":    {sweepFinished, []any{0, 10}, []string{"outbox USING INDEX outbox_by_age (", "outbox USING INTEGER PRIMARY KEY ("}},
		"unseen":   {sweepUnseen, []any{0, 10}, []string{"outbox USING COVERING INDEX sqlite_autoindex_outbox_1 (", "outbox USING INTEGER PRIMARY KEY ("}},
		"gone":     {sweepSubscribers, []any{0, 10}, []string{"o USING COVERING INDEX sqlite_autoindex_outbox_1 ("}},
	} {
		used := make(map[string]bool)
		for _, step := range plan(t, s, c.query, c.args...) {
			if !strings.HasPrefix(step, "SCAN outbox") && !strings.HasPrefix(step, "SCAN o ") && !strings.Contains(step, "SEARCH outbox") && !strings.Contains(step, "SEARCH o ") {
				continue // of another table
			}
			i := slices.IndexFunc(c.want, func(want string) bool { return strings.HasPrefix(step, "SEARCH "+want) })
			if i < 0 {
				t.Errorf("%s: %s", name, step)
				continue
			}
			used[c.want[i]] = true
		}
		if len(used) != len(c.want) {
			t.Errorf("%s: of %q only %v are used", name, c.want, used)
		}
	}
}

// TestClockSetBack: what was put off, or only put in, before the clock was set back by a
// year does not wait for that year.
func TestClockSetBack(t *testing.T) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	s := openAt(t, filepath.Join(t.TempDir(), "k.db"), func() time.Time { return now })
	sub := store.Subscription{Topic: "notify", Target: "ops"}
	heads := func(want int) time.Time {
		t.Helper()
		list, next, err := s.Heads(t.Context(), sub, 10)
		if err != nil || len(list) != want {
			t.Fatalf("%d heads, want %d, %v", len(list), want, err)
		}
		return next
	}
	if err := s.Subscribe(t.Context(), sub.Topic, sub.Target); err != nil {
		t.Fatal(err)
	}
	from := store.Position{}
	rows := []store.Delivery{{OrderKey: "a", Idempotency: "1", Payload: []byte("{}")}, {OrderKey: "b", Idempotency: "2", Payload: []byte("{}")}}
	if err := s.Route(t.Context(), sub, from, store.Position{Event: 1}, rows); err != nil {
		t.Fatal(err)
	}
	if err := s.Hold(t.Context(), sub, "p1", time.Minute); err != nil {
		t.Fatal(err)
	}
	list, _, err := s.Heads(t.Context(), sub, 10)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if err := s.Settle(t.Context(), sub, "p1", []store.Settled{{ID: list[0].ID, Next: now.Add(store.MaxPause), Error: "down"}}); err != nil {
		t.Fatal(err)
	}
	if next := heads(1); !next.Equal(now.Add(store.MaxPause)) {
		t.Errorf("the next at %s", next)
	}
	now = now.AddDate(-1, 0, 0)
	if next := heads(2); !next.IsZero() {
		t.Errorf("the next at %s", next)
	}
}

// TestSweepSteps: a sweep lets others write between its steps; one that fails has done
// those before.
func TestSweepSteps(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "k.db"), nil)
	s.pruneStep = 3
	sub := store.Subscription{Topic: "notify", Target: "ops"}
	fill(t, s, sub, 20, 5, 2)
	execute := func(query string) {
		t.Helper()
		err := s.write(t.Context(), "test", func(tx writeTx) error {
			_, err := tx.ExecContext(t.Context(), query)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		t.Helper()
		if err := s.reader.QueryRowContext(t.Context(), `SELECT count(*) FROM outbox`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	later := time.Now().Add(time.Hour)
	execute(`CREATE TRIGGER stop BEFORE DELETE ON outbox WHEN (SELECT count(*) FROM outbox) < 12 BEGIN SELECT raise(ABORT, 'as the test wants it'); END`)
	if err := s.Sweep(t.Context(), later, time.Time{}); err == nil || count() != 13 {
		t.Errorf("%d rows are left after %v", count(), err)
	}
	execute(`DROP TRIGGER stop`)
	if err := s.Sweep(t.Context(), later, time.Time{}); err != nil || count() != 5 {
		t.Errorf("%d rows are left after %v", count(), err)
	}
	if err := s.Sweep(t.Context(), later, later); err != nil || count() != 0 {
		t.Errorf("%d rows are left after %v", count(), err)
	}
	if list, err := s.Subscribers(t.Context(), sub.Topic); err != nil || len(list) != 0 {
		t.Errorf("subscribers %+v, %v", list, err)
	}
}

func plan(t *testing.T, s *Store, query string, args ...any) []string {
	t.Helper()
	rows, err := s.reader.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

// BenchmarkOutbox reads an outbox with a month of done rows, and with a target that was
// away for long, beside one with ten open rows and nothing else.
func BenchmarkOutbox(b *testing.B) {
	for _, c := range []struct{ done, open, keys int }{{0, 10, 10}, {100_000, 10, 10}, {100_000, 100_000, 10}, {0, 10_000, 1000}} {
		s := openAt(b, filepath.Join(b.TempDir(), "k.db"), nil)
		sub := store.Subscription{Topic: "notify", Target: "ops"}
		fill(b, s, sub, c.done, c.open, c.keys)
		name := fmt.Sprintf("done=%d,open=%d,keys=%d", c.done, c.open, c.keys)
		b.Run("heads/"+name, func(b *testing.B) {
			for b.Loop() {
				if heads, _, err := s.Heads(b.Context(), sub, 16); err != nil || len(heads) != min(c.keys, 16) {
					b.Fatal(len(heads), err)
				}
			}
		})
		b.Run("subscribers/"+name, func(b *testing.B) {
			for b.Loop() {
				if list, err := s.Subscribers(b.Context(), sub.Topic); err != nil || list[0].Open != c.open {
					b.Fatal(list, err)
				}
			}
		})
	}
}

func fill(b testing.TB, s *Store, sub store.Subscription, done, open, keys int) {
	b.Helper()
	if err := s.Subscribe(b.Context(), sub.Topic, sub.Target); err != nil {
		b.Fatal(err)
	}
	err := s.write(context.Background(), "fill", func(tx writeTx) error {
		for i := range done + open {
			state, finished := "pending", int64(0)
			if i < done {
				state, finished = "done", store.Micros(time.Now())
			}
			_, err := tx.ExecContext(b.Context(), `
				INSERT INTO outbox (topic, target, order_key, idempotency_id, payload, created, next_attempt, state, finished)
				VALUES (?, ?, ?, ?, ?, 1, 1, ?, ?)`,
				sub.Topic, sub.Target, fmt.Sprintf("key-%d", i%keys), fmt.Sprintf("%d-0123456789abcdef", i), make([]byte, 700), state, finished)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
