package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// accessEvents are those of the history, oldest first, as "key count names".
func (b *bench) accessEvents(t *testing.T) []string {
	t.Helper()
	page, err := b.store.Events(t.Context(), history.Query{Type: history.Access, Limit: store.MaxEvents})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, raw := range page.Events {
		e, err := history.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if e.Actor != "test@host" || e.Operation == "" || e.Digest == "" || e.Details["since"] == "" {
			t.Errorf("the event lacks something: %+v", e)
		}
		told = append(told, fmt.Sprint(e.Key, " ", e.Count, " ", e.Details["names"]))
	}
	slices.Reverse(told)
	return told
}

func accessed(t *testing.T, e *engine.Engine, key, name string) {
	t.Helper()
	if err := e.Accessed(key, name); err != nil {
		t.Errorf("Accessed(%q, %q): %v", key, name, err)
	}
}

func (b *bench) wantAccesses(t *testing.T, want ...string) {
	t.Helper()
	if got := b.accessEvents(t); !slices.Equal(got, want) {
		t.Errorf("on record are\n%q\nwant\n%q", got, want)
	}
}

// TestAccesses: they are recorded a minute after the first, and at the end.
func TestAccesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		create(t, e, "orders", 0)
		for range 3 {
			accessed(t, e, "payments", "DB_PASSWORD")
		}
		accessed(t, e, "payments", "API_KEY")
		pass(59 * time.Second)
		b.wantAccesses(t)
		accessed(t, e, "orders", "DB_PASSWORD")
		pass(time.Second)
		synctest.Wait()
		first := b.accessEvents(t)
		slices.Sort(first)
		if want := []string{"orders 1 DB_PASSWORD=1", "payments 4 API_KEY=1,DB_PASSWORD=3"}; !slices.Equal(first, want) {
			t.Errorf("on record are %q, want %q", first, want)
		}
		accessed(t, e, "payments", "API_KEY")
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if all := b.accessEvents(t); len(all) != 3 || all[2] != "payments 1 API_KEY=1" {
			t.Errorf("after Close: %q", all)
		}
	})
}

// TestAccessesOfManyNames: an event has room for so many, and too many are not kept
// until the minute is over.
func TestAccessesOfManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		for i := range 1000 {
			accessed(t, e, "payments", fmt.Sprintf("%0128d", i)) // the longest that a name is
		}
		pass(time.Millisecond)
		synctest.Wait()
		told := b.accessEvents(t)
		if len(told) != 20 {
			t.Fatalf("%d events", len(told))
		}
		for _, line := range told {
			if !strings.HasPrefix(line, "payments 50 ") || strings.Count(line, "=1") != 50 {
				t.Errorf("told: %s", line)
			}
		}
	})
}

// refusing is a store that takes no events while it is told not to.
type refusing struct {
	store.Store
	refuse atomic.Bool
	// during, if set, is called while it is asked.
	during func()
}

var errRefused = errors.New("refused")

func (r *refusing) Update(ctx context.Context, u store.Update) (store.Key, error) {
	if r.refuse.Load() {
		if r.during != nil {
			r.during()
		}
		return store.Key{}, errRefused
	}
	return r.Store.Update(ctx, u)
}

// TestAccessesAgain: what cannot be written is kept, with what comes later; an access to
// what no key stands for is let go.
func TestAccessesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := &refusing{Store: b.store}
		e := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		s.refuse.Store(true)
		s.during = func() {
			s.during = nil
			accessed(t, e, "payments", "A") // comes while the first is written
		}
		accessed(t, e, "payments", "A")
		accessed(t, e, "nobody", "A")
		pass(time.Minute)
		synctest.Wait()
		accessed(t, e, "payments", "B")
		accessed(t, e, "payments", "A")
		if err := e.Close(t.Context()); !errors.Is(err, errRefused) {
			t.Errorf("Close of a store that refuses: %v", err)
		}
		b.wantAccesses(t)
		if err := e.Accessed("payments", "C"); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("an access after Close: %v", err)
		}
		s.refuse.Store(false)
		if err := e.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
		b.wantAccesses(t, "payments 4 A=3,B=1")
	})
}

// TestAccessesByThemselves: what could not be written is written when it can be, though
// nobody opens anything any more.
func TestAccessesByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := &refusing{Store: b.store}
		e := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		accessed(t, e, "payments", "A")
		s.refuse.Store(true)
		pass(time.Minute)
		synctest.Wait()
		s.refuse.Store(false)
		pass(time.Minute)
		synctest.Wait()
		b.wantAccesses(t, "payments 1 A=1")
	})
}

// TestIdentifyAndText: both forms, without a key manager.
func TestIdentifyAndText(t *testing.T) {
	b := newBench(t)
	first := b.engine(t)
	create(t, first, "payments", 0)
	token := encrypt(t, first, "s3cret", "row 1")
	rotate(t, first)
	binary, err := first.EncryptBinary(t.Context(), "payments", []byte("s3cret"), []byte("row 1"))
	if err != nil {
		t.Fatal(err)
	}
	e := b.engine(t)
	b.km.Calls.Store(0)
	for version, ciphertext := range map[uint32][]byte{1: token, 2: binary} {
		if key, got, err := e.Identify(t.Context(), ciphertext); key != "payments" || got != version || err != nil {
			t.Errorf("Identify = %q %d %v, want version %d", key, got, err, version)
		}
	}
	same, err := e.Text(t.Context(), token)
	if string(same) != string(token) || err != nil {
		t.Errorf("the text of a token: %s, %v", same, err)
	}
	text, err := e.Text(t.Context(), binary)
	if err != nil || b.km.Calls.Load() != 0 {
		t.Errorf("the text of a binary: %v, with %d calls", err, b.km.Calls.Load())
	}
	if same, from, to, err := e.Renew(t.Context(), nil, binary, nil); string(same) != string(binary) || from != 2 || to != 2 || err != nil || b.km.Calls.Load() != 0 {
		t.Errorf("what is at the primary is renewed from %d to %d, %v, with %d calls", from, to, err, b.km.Calls.Load())
	}
	mustDecrypt(t, e, text, "row 1", "s3cret")
	for _, bad := range [][]byte{nil, []byte("keyrotor:nobody:v1:" + string(token[len("keyrotor:payments:v1:"):])), binary[:9]} {
		if _, _, err := e.Identify(t.Context(), bad); err == nil {
			t.Errorf("%q is identified", bad)
		}
		if _, err := e.Text(t.Context(), bad); err == nil {
			t.Errorf("%q has a text", bad)
		}
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := e.Text(t.Context(), binary); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
