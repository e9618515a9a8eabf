package destruction_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/store"
)

// wantRefused asserts the codes of all reasons, in order.
func wantRefused(t *testing.T, err error, codes ...destruction.ReasonCode) []destruction.Reason {
	t.Helper()
	var refused *destruction.RefusedError
	if !errors.As(err, &refused) {
		t.Errorf("not refused: %v, want %q", err, codes)
		return make([]destruction.Reason, len(codes))
	}
	var got []destruction.ReasonCode
	for _, r := range refused.Reasons {
		got = append(got, r.Code)
		if r.Text == "" || !strings.Contains(err.Error(), "\n"+r.Text) {
			t.Errorf("the reason %+v is not in %q", r, err)
		}
	}
	if !slices.Equal(got, codes) {
		t.Fatalf("refused for %q, want %q: %v", got, codes, err)
	}
	return refused.Reasons
}

// TestGate: what is in the way is said, all of it, each with its evidence.
func TestGate(t *testing.T) {
	b := newBench(t)
	b.rotate()
	b.reencrypt()
	link, empty, gone := filepath.Join(t.TempDir(), "link"), t.TempDir(), filepath.Join(t.TempDir(), "gone")
	if err := os.Symlink(b.data, link); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.env")
	if err := os.WriteFile(foreign, []byte("\n"+strings.Replace(b.encrypt(), "payments", "nobody", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		paths []string
		codes []destruction.ReasonCode
		at    string
		text  string
	}{
		"nothing registered": {nil, []destruction.ReasonCode{destruction.NoData}, "", "add a data block"},
		"not mounted":        {[]string{b.data, empty}, []destruction.ReasonCode{destruction.NoData}, empty, "holds no file"},
		"a link":             {[]string{b.data, link + "/"}, []destruction.ReasonCode{destruction.NoData}, link + "/", "symbolic link"},
		"gone":               {[]string{b.data, gone}, []destruction.ReasonCode{destruction.Unaccounted}, gone + " (io)", "could not be accounted for"},
		"of another store":   {[]string{b.data, foreign}, []destruction.ReasonCode{destruction.Unaccounted}, foreign + ":2 (unknown_key)", "could not be accounted for"},
		"everything":         {[]string{empty, foreign, gone}, []destruction.ReasonCode{destruction.NoData, destruction.Unaccounted}, empty, "holds no file"},
	} {
		d := b.newDestroyer(b.engine, c.paths...)
		_, err := d.Schedule(t.Context(), "payments", 2, 0, "")
		reason := wantRefused(t, err, c.codes...)[0]
		if reason.At != c.at || !strings.Contains(reason.Text, c.text) {
			t.Errorf("%s: %+v", name, reason)
		}
	}
	if v := b.version(2); v.State != keyring.Deactivated {
		t.Errorf("version %+v", v)
	}
	// The same at the end of the period: the data is looked at again.
	b.schedule(2, time.Hour)
	b.clock.advance(time.Hour)
	_, err := b.newDestroyer(b.engine, empty).Run(t.Context(), "payments", 2, "")
	wantRefused(t, err, destruction.NoData)
	if v := b.version(2); v.State != keyring.Quarantined {
		t.Errorf("version %+v", v)
	}
}

// TestOpenLease: while a process may still encrypt with the version, nothing is
// scheduled; a lease is over when it expires.
func TestOpenLease(t *testing.T) {
	b := newBench(t)
	for range 2 {
		lease := store.LeaseRequest{Key: "payments", Owner: "a process that was killed", Count: 64, TTL: store.MaxLeaseTTL}
		if _, err := b.store.Acquire(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
	}
	b.rotate()
	b.write("a.env", "")
	_, err := b.destroyer.Schedule(t.Context(), "payments", 2, 0, "")
	if reason := wantRefused(t, err, destruction.Leased)[0]; reason.Count != 128 || !strings.Contains(reason.Text, "15m0s") {
		t.Errorf("reason %+v", reason)
	}
	if _, err := b.destroyer.Force(t.Context(), "payments", 2, "quick"); err == nil {
		t.Error("forced while uses are out")
	} else {
		wantRefused(t, err, destruction.Leased)
	}
	b.clock.advance(store.MaxLeaseTTL)
	b.schedule(2, 0)
}

// changingKeys changes something while a census is under way.
type changingKeys struct {
	reencrypt.Keys
	change func()
}

func (k changingKeys) Versions(ctx context.Context, key string) ([]uint32, error) {
	k.change()
	return k.Keys.Versions(ctx, key)
}

// TestChangedMeanwhile: what was found is about the version as it was.
func TestChangedMeanwhile(t *testing.T) {
	b := newBench(t)
	b.rotate()
	b.reencrypt()
	d := b.newDestroyer(changingKeys{b.engine, func() {
		for _, state := range []keyring.State{keyring.Suspended, keyring.Deactivated} {
			if _, err := b.engine.SetState(t.Context(), "payments", 2, state, ""); err != nil {
				t.Error(err)
			}
		}
	}}, b.data)
	if _, err := d.Schedule(t.Context(), "payments", 2, 0, ""); !errors.Is(err, keyring.ErrState) || !strings.Contains(err.Error(), "meanwhile") {
		t.Errorf("Schedule: %v", err)
	}
	b.schedule(2, 0)
	b.clock.advance(destruction.DefaultPeriod)
	d = b.newDestroyer(changingKeys{b.engine, func() {
		if _, err := b.destroyer.Cancel(t.Context(), "payments", 2, ""); err != nil {
			t.Error(err)
		}
		b.schedule(2, 0)
	}}, b.data)
	if receipt, err := d.Run(t.Context(), "payments", 2, ""); !errors.Is(err, keyring.ErrState) || !strings.Contains(err.Error(), "meanwhile") {
		t.Errorf("Run: %+v, %v", receipt, err)
	}
	if v := b.version(2); v.State != keyring.Quarantined {
		t.Errorf("version %+v", v)
	}
	// Attempts while the census runs count, too.
	b.clock.advance(destruction.DefaultPeriod)
	d = b.newDestroyer(changingKeys{b.engine, func() {
		if err := b.store.CountAttempts(t.Context(), "payments", 2, 5); err != nil {
			t.Error(err)
		}
	}}, b.data)
	_, err := d.Run(t.Context(), "payments", 2, "")
	if reason := wantRefused(t, err, destruction.Attempted)[0]; reason.Count != 5 {
		t.Errorf("reason %+v", reason)
	}
}

// TestMovedMeanwhile: the receipt names the wraps that were deleted, and not those that
// were there when the census began.
func TestMovedMeanwhile(t *testing.T) {
	b := newBench(t)
	b.rotate()
	b.reencrypt()
	b.schedule(2, time.Hour)
	b.clock.advance(time.Hour)
	d := b.newDestroyer(changingKeys{b.engine, func() {
		_, err := b.store.Update(t.Context(), store.Update{Name: "payments", Apply: func(rec *keyring.Record) ([]history.Event, error) {
			v, _ := rec.Version(2)
			v.DropWrap("p")
			v.PutWrap(keyring.Wrap{Provider: "q", KEKID: "kek of q", KEKVersion: "7", Blob: []byte{1}})
			return []history.Event{{Type: history.ProviderAdded, Actor: "alice@host"}}, nil
		}})
		if err != nil {
			t.Error(err)
		}
	}}, b.data)
	receipt, err := d.Run(t.Context(), "payments", 2, "")
	if want := []destruction.DeletedWrap{{Provider: "q", KEKID: "kek of q", KEKVersion: "7"}}; err != nil || !slices.Equal(receipt.Wraps, want) {
		t.Errorf("deleted %+v, %v; want %+v", receipt.Wraps, err, want)
	}
}

// TestForgedSchedule: the due time comes from the event that put the version into
// quarantine, and from no other.
func TestForgedSchedule(t *testing.T) {
	b := newBench(t)
	b.rotate()
	b.reencrypt()
	b.schedule(2, time.Hour)
	if _, err := b.destroyer.Cancel(t.Context(), "payments", 2, ""); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(2 * time.Hour) // the first schedule would be due
	b.schedule(2, 0)
	_, err := b.destroyer.Run(t.Context(), "payments", 2, "")
	wantRefused(t, err, destruction.NotDue)

	newest := b.event().Seq
	for _, forge := range []string{
		`DELETE FROM events WHERE seq = ?`,
		`DELETE FROM events WHERE type = 'destroy_scheduled' AND seq <= ?`,
	} {
		db, err := sql.Open("sqlite", b.path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), forge, newest); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		for name, call := range map[string]func() error{
			"Run":    func() error { _, err := b.destroyer.Run(t.Context(), "payments", 2, ""); return err },
			"Force":  func() error { _, err := b.destroyer.Force(t.Context(), "payments", 2, "x"); return err },
			"Cancel": func() error { _, err := b.destroyer.Cancel(t.Context(), "payments", 2, ""); return err },
			"List":   func() error { _, err := b.destroyer.List(t.Context()); return err },
		} {
			if err := call(); !errors.Is(err, keyring.ErrIntegrity) {
				t.Errorf("%s without the event: %v", name, err)
			}
		}
	}
}
