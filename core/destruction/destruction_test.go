package destruction_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"golang.org/x/mod/sumdb/tlog"
)

// TestDestruction takes a version from its last token to its receipt.
func TestDestruction(t *testing.T) {
	b := newBench(t)
	b.rotate() // to version 3
	b.write("b.env", "B="+b.encrypt()+"\n\n")
	old := strings.TrimPrefix(b.read("a.env"), "A=")
	old = strings.TrimSuffix(old, "\n")

	_, err := b.destroyer.Schedule(t.Context(), "payments", 2, 0, "")
	reason := wantRefused(t, err, destruction.Tokens)[0]
	if at := filepath.Join(b.data, "a.env") + ":1"; reason.Count != 1 || reason.At != at || !strings.Contains(reason.Text, at) {
		t.Errorf("reason %+v", reason)
	}
	b.reencrypt()

	s := b.schedule(2, 0)
	start := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	kcv := b.version(2).KCV.String()
	want := destruction.Scheduled{
		Key: "payments", KeyID: s.KeyID, Version: 2, KCV: kcv, From: keyring.Deactivated,
		Scheduled: start, Due: start.AddDate(0, 0, 30), Census: destruction.Census{Files: 2, Tokens: 2},
		Actor: "bob@host", Note: "old and done", Operation: s.Operation,
	}
	if s != want || s.Operation == "" || len(s.KeyID) != 32 {
		t.Errorf("scheduled\n%+v, want\n%+v", s, want)
	}
	event := b.event()
	if event.Type != history.DestroyScheduled || event.Version != 2 || !event.Time.Equal(start) || event.Actor != "bob@host" ||
		event.Note != "old and done" || event.Operation != s.Operation || !maps.Equal(event.Details, map[string]string{
		"from": "deactivated", "due": "2026-03-31T12:00:00.123456Z", "attempts": "0",
		"census.files": "2", "census.tokens": "2", "census.skipped": "0",
	}) {
		t.Errorf("event %+v", event)
	}
	if v := b.version(2); v.State != keyring.Quarantined || len(v.Wraps) != 1 {
		t.Errorf("version %+v", v)
	}
	b.wantList(want)

	// Whoever still has a value shows up, and stops it.
	if _, err := b.engine.Decrypt(t.Context(), []byte(old), nil); !errors.Is(err, keyring.ErrState) {
		t.Errorf("in quarantine: %v", err)
	}
	want.Attempts = 1
	b.wantList(want)
	b.clock.advance(30*24*time.Hour - time.Second)
	_, err = b.destroyer.Run(t.Context(), "payments", 2, "")
	reasons := wantRefused(t, err, destruction.NotDue, destruction.Attempted)
	if reasons[0].Text != "it is due at 2026-03-31T12:00:00Z, in 1s" || reasons[1].Count != 1 {
		t.Errorf("reasons %+v", reasons)
	}
	canceled, err := b.destroyer.Cancel(t.Context(), "payments", 2, "found it")
	if err != nil || canceled != (destruction.Canceled{Key: "payments", Version: 2, State: keyring.Deactivated, Operation: canceled.Operation}) {
		t.Fatalf("%+v, %v", canceled, err)
	}
	event = b.event()
	if event.Type != history.DestroyCanceled || event.Version != 2 || event.Note != "found it" || event.Operation != canceled.Operation ||
		!maps.Equal(event.Details, map[string]string{"from": "quarantined", "to": "deactivated"}) {
		t.Errorf("event %+v", event)
	}
	if _, err := b.engine.Decrypt(t.Context(), []byte(old), nil); err != nil {
		t.Errorf("after the cancellation: %v", err)
	}
	b.wantList()

	// The second time nobody does.
	second := b.schedule(2, destruction.MinPeriod)
	b.clock.advance(time.Hour)
	receipt, err := b.destroyer.Run(t.Context(), "payments", 2, "now")
	if err != nil {
		t.Fatal(err)
	}
	event = b.event()
	size, root, err := b.store.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kek := receipt.Wraps[0].KEKID
	wantReceipt := destruction.Receipt{
		What: "wraps deleted", Meaning: receipt.Meaning, Store: b.store.ID().String(), Key: "payments", KeyID: s.KeyID, Version: 2,
		KCV: kcv, Wraps: []destruction.DeletedWrap{{Provider: "p", KEKID: kek, KEKVersion: "1"}},
		Scheduled: second.Scheduled, Due: second.Due, Destroyed: second.Due, Actor: "bob@host", Note: "now",
		Operation: event.Operation, Event: event.Seq, Skipped: []string{}, Census: &destruction.Census{Files: 2, Tokens: 2},
		Log: destruction.LogHead{Size: size, Root: root.String()},
	}
	if !equalReceipts(receipt, wantReceipt) || kek == "" || event.Seq != size || !strings.Contains(receipt.Meaning, "A backup of the database") {
		t.Errorf("receipt\n%+v, want\n%+v", receipt, wantReceipt)
	}
	if event.Type != history.Destroyed || event.Version != 2 || !maps.Equal(event.Details, map[string]string{
		"what": "wraps deleted", "kcv": kcv, "attempts": "0", "kek_id.p": kek, "kek_version.p": "1",
		"scheduled": "2026-03-31T11:59:59.123456Z", "due": "2026-03-31T12:59:59.123456Z",
		"census.files": "2", "census.tokens": "2", "census.skipped": "0",
	}) {
		t.Errorf("event %+v", event)
	}
	if v := b.version(2); v.State != keyring.Destroyed || len(v.Wraps) != 0 {
		t.Errorf("version %+v", v)
	}
	for _, e := range []*engine.Engine{b.engine, b.newEngine()} {
		if _, err := e.Decrypt(t.Context(), []byte(old), nil); !errors.Is(err, keyring.ErrState) {
			t.Errorf("after the destruction: %v", err)
		}
	}
	again, err := b.destroyer.Receipt(t.Context(), "payments", 2)
	if err != nil || !equalReceipts(again, receipt) {
		t.Errorf("the receipt again: %+v, %v", again, err)
	}
	b.wantList()
}

func equalReceipts(a, b destruction.Receipt) bool {
	same := slices.Equal(a.Wraps, b.Wraps) && slices.Equal(a.Skipped, b.Skipped) && (a.Census == nil) == (b.Census == nil) &&
		(a.Census == nil || *a.Census == *b.Census)
	return same && a.What == b.What && a.Meaning == b.Meaning && a.Store == b.Store && a.Key == b.Key && a.KeyID == b.KeyID &&
		a.Version == b.Version && a.KCV == b.KCV && a.Scheduled.Equal(b.Scheduled) && a.Due.Equal(b.Due) && a.Destroyed.Equal(b.Destroyed) &&
		a.Actor == b.Actor && a.Note == b.Note && a.Operation == b.Operation && a.Event == b.Event && a.Forced == b.Forced &&
		a.Attempts == b.Attempts && a.Log == b.Log
}

func (b *bench) wantList(want ...destruction.Scheduled) {
	b.Helper()
	got, err := b.destroyer.List(b.Context())
	if err != nil || got == nil || !slices.Equal(got, want) {
		b.Errorf("in quarantine are %+v, %v; want %+v", got, err, want)
	}
}

func TestRefusedStates(t *testing.T) {
	b := newBench(t)
	b.rotate() // 3
	b.rotate() // 4
	b.reencrypt()
	ctx := t.Context()
	if _, err := b.destroyer.Force(ctx, "payments", 1, "gone"); err != nil {
		t.Fatal(err)
	}
	b.schedule(2, 0)
	size := b.event().Seq
	for name, c := range map[string]struct {
		call func() error
		want error
	}{
		"schedule the primary":       {func() error { _, err := b.destroyer.Schedule(ctx, "payments", 4, 0, ""); return err }, keyring.ErrState},
		"schedule a scheduled one":   {func() error { _, err := b.destroyer.Schedule(ctx, "payments", 2, 0, ""); return err }, keyring.ErrState},
		"schedule a destroyed one":   {func() error { _, err := b.destroyer.Schedule(ctx, "payments", 1, 0, ""); return err }, keyring.ErrState},
		"schedule an unknown one":    {func() error { _, err := b.destroyer.Schedule(ctx, "payments", 9, 0, ""); return err }, keyring.ErrUnknownVersion},
		"schedule of an unknown key": {func() error { _, err := b.destroyer.Schedule(ctx, "nobody", 1, 0, ""); return err }, keyring.ErrUnknownKey},
		"schedule of a bad name":     {func() error { _, err := b.destroyer.Schedule(ctx, "No Name", 1, 0, ""); return err }, keyring.ErrInvalidName},
		"schedule, a note of lines":  {func() error { _, err := b.destroyer.Schedule(ctx, "payments", 3, 0, "a\nb"); return err }, history.ErrText},
		"cancel what is not":         {func() error { _, err := b.destroyer.Cancel(ctx, "payments", 3, ""); return err }, keyring.ErrState},
		"run what is not scheduled":  {func() error { _, err := b.destroyer.Run(ctx, "payments", 3, ""); return err }, keyring.ErrState},
		"run the primary":            {func() error { _, err := b.destroyer.Run(ctx, "payments", 4, ""); return err }, keyring.ErrState},
		"run a destroyed one":        {func() error { _, err := b.destroyer.Run(ctx, "payments", 1, ""); return err }, keyring.ErrState},
		"force the primary":          {func() error { _, err := b.destroyer.Force(ctx, "payments", 4, "x"); return err }, keyring.ErrState},
		"force a destroyed one":      {func() error { _, err := b.destroyer.Force(ctx, "payments", 1, "x"); return err }, keyring.ErrState},
		"force without a note":       {func() error { _, err := b.destroyer.Force(ctx, "payments", 3, ""); return err }, destruction.ErrNote},
		"receipt of a living one":    {func() error { _, err := b.destroyer.Receipt(ctx, "payments", 3); return err }, keyring.ErrState},
	} {
		if err := c.call(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := b.destroyer.Schedule(ctx, "payments", 3, time.Hour-1, ""); err == nil || !strings.Contains(err.Error(), "at least 1h0m0s") {
		t.Errorf("a period that is too short: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.destroyer.Force(canceled, "payments", 3, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if newest := b.event().Seq; newest != size {
		t.Errorf("%d events of nothing", newest-size)
	}
}

// TestForce: neither census nor period nor attempts are in the way, and the history
// says that they were not looked at.
func TestForce(t *testing.T) {
	b := newBench(t)
	b.rotate()
	token := strings.TrimSpace(strings.TrimPrefix(b.read("a.env"), "A="))
	b.write("a.env", "")
	b.schedule(2, 0)
	for range 3 {
		if _, err := b.newEngine().Decrypt(t.Context(), []byte(token), nil); err == nil {
			t.Fatal("decrypted in quarantine")
		}
	}
	b.write("a.env", token)
	receipt, err := b.destroyer.Force(t.Context(), "payments", 2, "by court order")
	if err != nil {
		t.Fatal(err)
	}
	if !receipt.Forced || !slices.Equal(receipt.Skipped, []string{"period", "attempts", "census"}) || receipt.Attempts != 3 ||
		receipt.Census != nil || receipt.Note != "by court order" || receipt.Due.Sub(receipt.Scheduled) != destruction.DefaultPeriod {
		t.Errorf("receipt %+v", receipt)
	}
	event := b.event()
	kek := receipt.Wraps[0].KEKID
	if want := map[string]string{
		"what": "wraps deleted", "kcv": receipt.KCV, "kek_id.p": kek, "kek_version.p": "1", "forced": "true", "skipped": "period,attempts,census",
		"scheduled": "2026-03-01T12:00:00.123456Z", "due": "2026-03-31T12:00:00.123456Z", "attempts": "3",
	}; event.Type != history.Destroyed || !maps.Equal(event.Details, want) {
		t.Errorf("event %+v", event)
	}

	// One that was never scheduled.
	if _, err := b.engine.SetState(t.Context(), "payments", 1, keyring.Compromised, ""); err != nil {
		t.Fatal(err)
	}
	receipt, err = b.destroyer.Force(t.Context(), "payments", 1, "at once")
	if err != nil || !receipt.Scheduled.IsZero() || !receipt.Due.IsZero() || len(receipt.Wraps) != 1 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if event := b.event(); event.Details["from"] != "compromised" || event.Details["due"] != "" || event.Details["forced"] != "true" {
		t.Errorf("event %+v", event)
	}
	if v := b.version(1); v.State != keyring.Destroyed || len(v.Wraps) != 0 {
		t.Errorf("version %+v", v)
	}
}

// TestCancelGoesBack: a version that decrypted nothing does not decrypt because its
// destruction was canceled.
func TestCancelGoesBack(t *testing.T) {
	b := newBench(t)
	b.rotate()
	b.reencrypt()
	for _, state := range []keyring.State{keyring.Deactivated, keyring.Suspended, keyring.Compromised} {
		if _, err := b.engine.SetState(t.Context(), "payments", 2, state, ""); err != nil {
			t.Fatal(err)
		}
		if s := b.schedule(2, 0); s.From != state {
			t.Errorf("scheduled from %s, want %s", s.From, state)
		}
		if canceled, err := b.destroyer.Cancel(t.Context(), "payments", 2, ""); err != nil || canceled.State != state || b.version(2).State != state {
			t.Errorf("canceled to %s, want %s: %v", canceled.State, state, err)
		}
	}
}

// rootless is a store whose tree cannot be read.
type rootless struct{ *sqlite.Store }

func (rootless) Root(context.Context) (uint64, tlog.Hash, error) {
	return 0, tlog.Hash{}, store.ErrBusy
}

// TestReceiptThatCannotBeRead: whoever gets the error knows that the version is gone,
// and where the receipt is.
func TestReceiptThatCannotBeRead(t *testing.T) {
	b := newBench(t)
	b.rotate()
	d, err := destruction.New(destruction.Config{Store: rootless{b.store}, Keys: b.engine, Actor: "bob@host"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Force(t.Context(), "payments", 1, "because")
	if !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), "is destroyed") || !strings.Contains(err.Error(), "`keyrotor key destroy receipt payments 1`") {
		t.Errorf("%v", err)
	}
	if r, err := b.destroyer.Receipt(t.Context(), "payments", 1); err != nil || !r.Forced {
		t.Errorf("later: %+v, %v", r, err)
	}
}

func TestNew(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]destruction.Config{
		"no store": {Keys: b.engine, Actor: "a"},
		"no keys":  {Store: b.store, Actor: "a"},
		"no actor": {Store: b.store, Keys: b.engine},
		"lines":    {Store: b.store, Keys: b.engine, Actor: "a\nb"},
	} {
		if _, err := destruction.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
