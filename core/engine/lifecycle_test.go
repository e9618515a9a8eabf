package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

func rotate(t *testing.T, e *engine.Engine) {
	t.Helper()
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
}

func setState(t *testing.T, e *engine.Engine, version uint32, to keyring.State) engine.StateChanged {
	t.Helper()
	done, err := e.SetState(t.Context(), "payments", version, to, "because")
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// events answers the newest n events of the key, the newest first.
func (b *bench) events(t *testing.T, n int) []history.Event {
	t.Helper()
	page, err := b.store.Events(t.Context(), history.Query{Key: "payments", Limit: n})
	if err != nil {
		t.Fatal(err)
	}
	var events []history.Event
	for _, raw := range page.Events {
		event, err := history.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

// quarantine puts a version where only destruction does.
func (b *bench) quarantine(t *testing.T, version uint32, to keyring.State) {
	t.Helper()
	_, err := b.store.Update(t.Context(), store.Update{Name: "payments", Apply: func(rec *keyring.Record) ([]history.Event, error) {
		return []history.Event{{Type: history.DestroyScheduled, Actor: "test@host", Version: version}}, rec.SetState(version, to, time.Now())
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSuspend: a primary that is suspended encrypts and decrypts nothing more, here
// at once and elsewhere within seconds; it can come back.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e, other := b.engine(t), b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		encrypt(t, other, "x", "")
		mustDecrypt(t, other, token, "", "x")

		done := setState(t, e, 1, keyring.Suspended)
		if done.From != keyring.Active || done.To != keyring.Suspended || done.Key.Primary != 0 || done.Deposed != 0 {
			t.Errorf("suspended: %+v", done)
		}
		event := b.events(t, 1)[0]
		if event.Type != history.StateChange || event.Version != 1 || event.Operation != done.Operation || event.Note != "because" ||
			event.Actor != "test@host" || !maps.Equal(event.Details, map[string]string{"from": "active", "to": "suspended"}) {
			t.Errorf("event %+v", event)
		}
		if v, _ := done.Key.Version(1); !v.StateChanged.Equal(event.Time) {
			t.Errorf("the state changed at %s, and the event says %s", v.StateChanged, event.Time)
		}
		if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 64 {
			t.Errorf("%d uses are out, %v; want those of the other process", leased, err)
		}
		refused := func(e *engine.Engine, who string) {
			t.Helper()
			if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, keyring.ErrNoPrimary) {
				t.Errorf("%s encrypts: %v", who, err)
			}
			if _, err := e.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) {
				t.Errorf("%s decrypts: %v", who, err)
			}
		}
		refused(e, "this process")
		time.Sleep(6 * time.Second) // the bubble's clock, not ours
		refused(other, "the other process")

		setState(t, e, 1, keyring.Active)
		mustDecrypt(t, e, encrypt(t, e, "y", ""), "", "y")
		time.Sleep(6 * time.Second) // the bubble's clock, not ours
		mustDecrypt(t, other, token, "", "x")
	})
}

// TestActivateDeposes: a suspended version that becomes the primary again takes the
// place of the one that is, and both changes are in the history.
func TestActivateDeposes(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	rotate(t, e)
	setState(t, e, 1, keyring.Suspended)
	done := setState(t, e, 1, keyring.Active)
	if done.Deposed != 2 || done.Key.Primary != 1 {
		t.Errorf("version %d stopped being the primary, which is %d", done.Deposed, done.Key.Primary)
	}
	for i, want := range []history.Event{
		{Version: 1, Details: map[string]string{"from": "suspended", "to": "active"}},
		{Version: 2, Details: map[string]string{"from": "active", "to": "deactivated"}},
	} {
		got := b.events(t, 2)[i]
		if got.Type != history.StateChange || got.Version != want.Version || !maps.Equal(got.Details, want.Details) || got.Operation != done.Operation {
			t.Errorf("event %+v", got)
		}
	}
	if token := encrypt(t, e, "x", ""); !bytes.HasPrefix(token, []byte("keyrotor:payments:v1:")) {
		t.Errorf("it encrypts to %s", token)
	}
}

func TestSetStateRefuses(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	for range 4 {
		rotate(t, e)
	}
	setState(t, e, 2, keyring.Suspended)
	setState(t, e, 3, keyring.Compromised)
	b.quarantine(t, 4, keyring.Quarantined)
	if _, err := e.Configure(t.Context(), "payments", engine.Settings{MinDecryptVersion: new(uint32(3))}, ""); err != nil {
		t.Fatal(err)
	}
	before := b.events(t, 100)
	for _, c := range []struct {
		key     string
		version uint32
		to      keyring.State
		want    error
	}{
		{"payments", 1, keyring.Active, keyring.ErrState},      // it was deactivated
		{"payments", 1, keyring.PreActive, keyring.ErrState},   // nothing leads there
		{"payments", 1, keyring.Quarantined, keyring.ErrState}, // not this way
		{"payments", 1, keyring.Destroyed, keyring.ErrState},
		{"payments", 2, keyring.Active, keyring.ErrState}, // below the minimum
		{"payments", 3, keyring.Deactivated, keyring.ErrState},
		{"payments", 3, keyring.Quarantined, keyring.ErrState},
		{"payments", 4, keyring.Deactivated, keyring.ErrState}, // its destruction is to be canceled
		{"payments", 4, keyring.Compromised, keyring.ErrState},
		{"payments", 4, keyring.Destroyed, keyring.ErrState},
		{"payments", 5, "asleep", keyring.ErrState},
		{"payments", 6, keyring.Suspended, keyring.ErrUnknownVersion},
		{"payments", 0, keyring.Suspended, keyring.ErrUnknownVersion},
		{"nobody", 1, keyring.Suspended, keyring.ErrUnknownKey},
		{"No Name", 1, keyring.Suspended, keyring.ErrInvalidName},
	} {
		if done, err := e.SetState(t.Context(), c.key, c.version, c.to, ""); !errors.Is(err, c.want) {
			t.Errorf("version %d of %s to %s: %+v, %v", c.version, c.key, c.to, done, err)
		}
	}
	if _, err := e.SetState(t.Context(), "payments", 1, keyring.Suspended, "two\nlines"); !errors.Is(err, history.ErrText) {
		t.Errorf("a note of two lines: %v", err)
	}
	// What is so already is no change.
	for version, to := range map[uint32]keyring.State{1: keyring.Deactivated, 2: keyring.Suspended, 4: keyring.Quarantined, 5: keyring.Active} {
		done, err := e.SetState(t.Context(), "payments", version, to, "")
		if err != nil || done.Operation != "" || done.From != to || done.Key.Primary != 5 {
			t.Errorf("version %d to %s again: %+v, %v", version, to, done, err)
		}
	}
	if after := b.events(t, 100); len(after) != len(before) {
		t.Errorf("events that are about nothing: %+v", after[:len(after)-len(before)])
	}
}

// TestCompromised: a compromised version is read with one alarm a process, also by
// one that has it open already, until reads are blocked.
func TestCompromised(t *testing.T) {
	b := newBench(t)
	var logged bytes.Buffer
	open := func() *engine.Engine {
		e, err := engine.New(engine.Config{
			Store: b.store, Actor: "test@host", Log: slog.New(slog.NewTextHandler(&logged, nil)),
			KeyManager: func(string) (wrapping.KeyManager, error) { return b.km, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close(context.Background()) })
		return e
	}
	e := open()
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	rotate(t, e)
	mustDecrypt(t, e, token, "", "x")
	setState(t, e, 1, keyring.Compromised)
	b.km.Calls.Store(0)
	if logged.Len() > 0 {
		t.Errorf("logged before any use: %s", &logged)
	}
	for i, e := range []*engine.Engine{e, open()} {
		for range 3 {
			mustDecrypt(t, e, token, "", "x")
		}
		const alarm = `level=WARN msg="a compromised version is in use: re-encrypt what it protects, or block reads of it" key=payments version=1`
		if text := logged.String(); strings.Count(text, "\n") != i+1 || strings.Count(text, alarm) != i+1 {
			t.Errorf("logged by %d processes: %s", i+1, text)
		}
		mustDecrypt(t, e, encrypt(t, e, "new", ""), "", "new")
	}
	if calls := b.km.Calls.Load(); calls != 2 { // versions 1 and 2 in the second process
		t.Errorf("the key manager was called %d times", calls)
	}
	done, err := e.Configure(t.Context(), "payments", engine.Settings{BlockReads: new(true)}, "enough")
	if err != nil || !slices.Equal(done.Changes, []engine.Setting{{Name: "block_reads", Old: "false", New: "true"}}) {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := e.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) {
		t.Errorf("with reads blocked: %v", err)
	}
}

func TestConfigure(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	old := encrypt(t, e, "x", "")
	rotate(t, e)
	done, err := e.Configure(t.Context(), "payments", engine.Settings{MinDecryptVersion: new(uint32(2)), BlockReads: new(false)}, "old values are gone")
	if err != nil || !slices.Equal(done.Changes, []engine.Setting{{Name: "min_decrypt_version", Old: "0", New: "2"}}) || done.Key.Settings.MinDecryptVersion != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	event := b.events(t, 1)[0]
	if event.Type != history.ConfigChange || event.Note != "old values are gone" || event.Operation != done.Operation || event.Version != 0 ||
		!maps.Equal(event.Details, map[string]string{"min_decrypt_version.old": "0", "min_decrypt_version.new": "2"}) {
		t.Errorf("event %+v", event)
	}
	if _, err := e.Decrypt(t.Context(), old, nil); !errors.Is(err, keyring.ErrState) {
		t.Errorf("below the minimum: %v", err)
	}
	encrypt(t, e, "goes on", "")

	size := len(b.events(t, 100))
	for _, s := range []engine.Settings{{}, {MinDecryptVersion: new(uint32(2))}, {BlockReads: new(false), MinDecryptVersion: new(uint32(2))}} {
		if done, err := e.Configure(t.Context(), "payments", s, ""); err != nil || done.Operation != "" || len(done.Changes) > 0 {
			t.Errorf("nothing to change: %+v, %v", done, err)
		}
	}
	for least, want := range map[uint32]error{3: keyring.ErrUnknownVersion, 1 << 31: keyring.ErrUnknownVersion} {
		if done, err := e.Configure(t.Context(), "payments", engine.Settings{MinDecryptVersion: &least}, ""); !errors.Is(err, want) {
			t.Errorf("a minimum of %d: %+v, %v", least, done, err)
		}
	}
	if _, err := e.Configure(t.Context(), "nobody", engine.Settings{}, ""); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("unknown key: %v", err)
	}
	if after := len(b.events(t, 100)); after != size {
		t.Errorf("%d events that are about nothing", after-size)
	}
	// Both at once, with the minimum above an old primary.
	setState(t, e, 2, keyring.Suspended)
	rotate(t, e)
	setState(t, e, 2, keyring.Compromised)
	done, err = e.Configure(t.Context(), "payments", engine.Settings{MinDecryptVersion: new(uint32(0)), BlockReads: new(true)}, "")
	if err != nil || len(done.Changes) != 2 || done.Key.Settings.MinDecryptVersion != 0 || !done.Key.Settings.BlockReads {
		t.Errorf("%+v, %v", done, err)
	}
	mustDecrypt(t, e, old, "", "x")
}

// TestMinimumAboveThePrimary: what is encrypted can be read.
func TestMinimumAboveThePrimary(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	setState(t, e, 1, keyring.Suspended)
	rotate(t, e)
	setState(t, e, 1, keyring.Active) // version 2 is there, and not the primary
	minimum := engine.Settings{MinDecryptVersion: new(uint32(2))}
	if done, err := e.Configure(t.Context(), "payments", minimum, ""); !errors.Is(err, keyring.ErrState) {
		t.Errorf("a minimum above the primary: %+v, %v", done, err)
	}
	setState(t, e, 1, keyring.Suspended)
	if _, err := e.Configure(t.Context(), "payments", minimum, ""); err != nil {
		t.Errorf("without a primary: %v", err)
	}
}

// TestChangeThatCannotBeReadBack: what was committed acts all the same.
func TestChangeThatCannotBeReadBack(t *testing.T) {
	b := newBench(t)
	var fail atomic.Bool
	e := b.engineOn(t, failingAfterUpdate{unreadable{b.store, &fail}}, map[string]*faults.KeyManager{"p": b.km})
	create(t, e, "payments", 0)
	fail.Store(false)
	token := encrypt(t, e, "x", "")
	setState(t, e, 1, keyring.Suspended)
	if _, err := e.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) {
		t.Errorf("after the suspension: %v", err)
	}
	if _, err := e.Encrypt(t.Context(), "payments", nil, nil); err == nil {
		t.Error("it still encrypts")
	}
}

// failingAfterUpdate cannot be read once it has changed a key.
type failingAfterUpdate struct{ unreadable }

func (s failingAfterUpdate) Update(ctx context.Context, u store.Update) (store.Key, error) {
	key, err := s.Store.Update(ctx, u)
	s.on.Store(true)
	return key, err
}
