package destruction_test

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// bench is a store whose clock the test sets, an engine on it, and registered data
// in a folder.
type bench struct {
	*testing.T
	path, data string
	clock      *clock
	km         *faults.KeyManager
	store      *sqlite.Store
	engine     *engine.Engine
	destroyer  *destruction.Destroyer
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newBench has a key "payments" at version 2, and a file with a token of it.
func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{
		T: t, path: filepath.Join(dir, "k.db"), data: filepath.Join(dir, "data"),
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)}, km: faults.NewLocal(t),
	}
	var err error
	b.store, err = sqlite.Open(t.Context(), sqlite.Config{Path: b.path, Now: b.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	b.engine = b.newEngine()
	b.destroyer = b.newDestroyer(b.engine, b.data)
	if err := os.Mkdir(b.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := b.engine.CreateKey(t.Context(), "payments", keyring.Settings{WrapWith: []string{"p"}}, ""); err != nil {
		t.Fatal(err)
	}
	b.rotate()
	b.write("a.env", "A="+b.encrypt()+"\n")
	return b
}

func (b *bench) newEngine() *engine.Engine {
	b.Helper()
	e, err := engine.New(engine.Config{
		Store: b.store, Actor: "alice@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return b.km, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close(context.Background()) })
	return e
}

func (b *bench) newDestroyer(keys reencrypt.Keys, paths ...string) *destruction.Destroyer {
	b.Helper()
	d, err := destruction.New(destruction.Config{
		Store: b.store, Keys: keys, Paths: paths, Actor: "bob@host", Changed: b.engine.Changed,
	})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func (b *bench) rotate() {
	b.Helper()
	if _, err := b.engine.Rotate(b.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) encrypt() string {
	b.Helper()
	token, err := b.engine.Encrypt(b.Context(), "payments", []byte("s3cret"), nil)
	if err != nil {
		b.Fatal(err)
	}
	return string(token)
}

func (b *bench) write(name, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.data, name), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

// version reads a version from the store.
func (b *bench) version(number uint32) keyring.Version {
	b.Helper()
	key, err := b.store.Key(b.Context(), "payments")
	if err != nil {
		b.Fatal(err)
	}
	v, ok := key.Version(number)
	if !ok {
		b.Fatalf("there is no version %d", number)
	}
	if err := key.Verify(b.store.ID(), key.LastDigest); err != nil {
		b.Error(err)
	}
	return *v
}

// event answers the newest event.
func (b *bench) event() history.Event {
	b.Helper()
	page, err := b.store.Events(b.Context(), history.Query{Limit: 1})
	if err != nil {
		b.Fatal(err)
	}
	e, err := history.Decode(page.Events[0])
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func (b *bench) schedule(version uint32, period time.Duration) destruction.Scheduled {
	b.Helper()
	s, err := b.destroyer.Schedule(b.Context(), "payments", version, period, "old and done")
	if err != nil {
		b.Fatal(err)
	}
	return s
}

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

func (b *bench) read(name string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(b.data, name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

func (b *bench) reencrypt() {
	b.Helper()
	report, err := (&reencrypt.Job{Keys: b.engine}).Run(b.Context(), []string{b.data})
	if err != nil || len(report.Failed) > 0 {
		b.Fatalf("%+v, %v", report, err)
	}
}

func (b *bench) wantList(want ...destruction.Scheduled) {
	b.Helper()
	got, err := b.destroyer.List(b.Context())
	if err != nil || got == nil || !slices.Equal(got, want) {
		b.Errorf("in quarantine are %+v, %v; want %+v", got, err, want)
	}
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
