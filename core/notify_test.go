package core_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/testing/receiver"
)

const hookSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// delivered has what is due delivered to a log of the config, and answers all that is in
// there.
func delivered(t *testing.T, config string) []notify.Notice {
	t.Helper()
	kr, err := core.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	report, err := kr.Notifier.Deliver(t.Context())
	if err := errors.Join(err, kr.Close()); err != nil || len(report.Targets) != 1 || report.Targets[0].Open > 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(config), "told.jsonl"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var all []notify.Notice
	for line := range strings.Lines(string(text)) {
		var e cloudevents.Event
		var n notify.Notice
		if err := e.UnmarshalJSON([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if err := e.DataAs(&n); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// TestNotifier: what one Keyrotor commits, another one on the store tells: its targets,
// and the functions that want to hear of it.
func TestNotifier(t *testing.T) {
	path := newDir(t)
	hooks := receiver.New(t, hookSecret)
	appendTo(t, path, fmt.Sprintf(`
notify "webhook" "ops" {
  url     = %q
  secret  = %q
  types   = ["key_created", "key_rotated"]
  keys    = ["pay*"]
  headers = { X-Team = "shop" }
}
`, hooks.URL(), hookSecret))
	teller, worker := open(t, path), open(t, path)
	heard := make(chan notify.Notice, 10)
	teller.Notifier.Handle("test", func(_ context.Context, n notify.Notice) { heard <- n }, notify.KeyRotated)
	if err := teller.Notifier.Start(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"payments", "orders"} {
		if _, err := worker.CreateKey(t.Context(), name, core.KeyOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := worker.Rotate(t.Context(), name, keyring.ReasonManual, "as the test wants it"); err != nil {
			t.Fatal(err)
		}
	}
	hooks.Wait("two events", func(all []receiver.Event) bool { return len(all) == 2 })
	for i, want := range []notify.Type{notify.KeyCreated, notify.KeyRotated} {
		e := hooks.Taken()[i]
		if e.Notice.Type != want || e.Type != "io.keyrotor."+string(want) || e.Subject != "payments" || e.Header.Get("X-Team") != "shop" ||
			!strings.HasPrefix(e.Source, "urn:uuid:") || e.Notice.NewVersion != uint32(i+1) {
			t.Errorf("event %d: %+v", i+1, e)
		}
	}
	for _, want := range []string{"payments", "orders"} {
		if n := <-heard; n.Type != notify.KeyRotated || n.Key != want || n.PreviousVersion != 1 || n.NewVersion != 2 || n.Note != "as the test wants it" {
			t.Errorf("a function heard %+v", n)
		}
	}
	targets, err := worker.Targets(t.Context())
	if err != nil || len(targets) != 1 || targets[0].Type != "webhook" || targets[0].Target != "ops" || !targets[0].Subscribed {
		t.Errorf("%+v, %v", targets, err)
	}
}

// TestTargetsRefused: all that cannot work is said at once, before anything is opened.
func TestTargetsRefused(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, `
notify "webhook" "a" {
  url     = "https://hooks.example.com/s3cret"
  secret  = "0123456789012345678901234567890123"
  ca_file = "nowhere.pem"
}
notify "webhook" "b" {
  url     = "https://hooks.example.com/s3cret"
  secret  = "0123456789012345678901234567890123"
  ca_file = "keyrotor.hcl"
}
`)
	_, err := core.Open(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), `notify "webhook" "a"`) || !strings.Contains(err.Error(), `notify "webhook" "b"`) ||
		!strings.Contains(err.Error(), "nowhere.pem") || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "0123456789") {
		t.Errorf("%v", err)
	}
	report, err := core.Opener{}.Examine(t.Context(), path, false)
	if err != nil {
		t.Fatal(err)
	}
	if f := report.Findings[0]; f.Check != "config.valid" || f.Status != doctor.Fail || !strings.Contains(f.Evidence, "nowhere.pem") || strings.Contains(f.Evidence, "s3cret") {
		t.Errorf("doctor says %+v", f)
	}
}

// TestUsageThresholds: each is told once for a version, whichever process gets there.
func TestUsageThresholds(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, `
key "payments" {
  hard_limit = 201
  rotation {
    max_uses = 99
  }
}
notify "log" "audit" {
  path  = "told.jsonl"
  types = ["usage_threshold"]
}
`)
	kr := open(t, path)
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKey(t.Context(), "small", core.KeyOptions{HardLimit: 10}); err != nil {
		t.Fatal(err)
	}
	encrypt := func(key string, times int) {
		t.Helper()
		for range times {
			if _, err := kr.Encrypt(t.Context(), key, []byte("x"), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := kr.Close(); err != nil { // which gives back what is leased, and tells what is not told
			t.Fatal(err)
		}
		kr = open(t, path)
	}
	type told struct{ key, threshold, limit, policy string }
	want := func(when string, want ...told) {
		t.Helper()
		var got []told
		for _, n := range delivered(t, path) {
			if n.Type != notify.UsageThreshold || n.NewVersion != 1 || n.Details["uses"] == "" {
				t.Errorf("%s: %+v", when, n)
			}
			got = append(got, told{n.Key, n.Details["threshold"], n.Details["limit"], n.Policy})
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: told %v, want %v", when, got, want)
		}
	}
	encrypt("payments", 75)
	want("before the first threshold")
	encrypt("payments", 10)
	of := told{"payments", "80%", "99", "max_uses"}
	want("after it", of)
	encrypt("payments", 90)
	want("long after it", of)
	encrypt("payments", 15)
	want("near the hard limit", of, told{"payments", "90%", "201", ""})
	encrypt("small", 5)
	want("where only the hard limit counts", of, told{"payments", "90%", "201", ""}, told{"small", "80%", "5", "hard_limit"})
}

// TestDueSoon: a rotation is told of a day before, once.
func TestDueSoon(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, `
scheduler {
  interval = "1h"
}
key "payments" {
  rotation {
    max_age = "30d"
  }
}
notify "log" "audit" {
  path  = "told.jsonl"
  types = ["rotation_due_soon"]
}
`)
	clock := clockwork.NewFakeClockAt(time.Now())
	at := func() *core.Keyrotor {
		kr, err := core.Opener{Clock: clock}.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return kr
	}
	check := func() {
		t.Helper()
		kr := at()
		if err := kr.Scheduler.Start(); err != nil {
			t.Fatal(err)
		}
		if err := kr.Scheduler.FirstCheck(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := kr.Close(); err != nil {
			t.Fatal(err)
		}
	}
	kr := at()
	key, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{})
	if err := errors.Join(err, kr.Close()); err != nil {
		t.Fatal(err)
	}
	clock.Advance(28 * 24 * time.Hour)
	check()
	if told := delivered(t, path); len(told) > 0 {
		t.Errorf("two days before: %+v", told)
	}
	clock.Advance(25 * time.Hour)
	check()
	clock.Advance(time.Hour)
	check()
	told := delivered(t, path)
	due := key.Versions[0].Created.Add(30 * 24 * time.Hour).Format(time.RFC3339)
	if len(told) != 1 || told[0].Key != "payments" || told[0].NewVersion != 1 || told[0].Policy != "max_age" || told[0].Details["due"] != due {
		t.Errorf("told %+v, and it is due at %s", told, due)
	}
}

// TestDueSoonMoves: a forecast that moves a little is told once, on whichever side of an
// hour it is; one that moves by a tenth of the lead time is told again.
func TestDueSoonMoves(t *testing.T) {
	path := initDir(t, core.InitOptions{})
	appendTo(t, path, `
notify "log" "audit" {
  path  = "told.jsonl"
  types = ["rotation_due_soon"]
}
`)
	start := time.Now().Truncate(time.Hour)
	kr, err := core.Opener{Clock: clockwork.NewFakeClockAt(start)}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	var due time.Time
	moves, err := policy.NewCustom("moves", "as the test wants it", func(k policy.Key, _ time.Time) policy.Decision {
		if k.Version > 1 {
			return policy.Decision{Why: "it is done"}
		}
		return policy.Decision{Next: due, Why: "it comes"}
	})
	if err := errors.Join(err, kr.Scheduler.Add("payments", moves)); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range []struct {
		in  time.Duration
		new bool
	}{
		{12*time.Hour - time.Minute, true},
		{12*time.Hour + time.Minute, false},
		{14 * time.Hour, false},
		{9*time.Hour + 36*time.Minute, false},
		{14*time.Hour + 30*time.Minute, true}, // 24 hours are the lead time
		{12*time.Hour + 7*time.Minute, false},
		{17 * time.Hour, true},
	} {
		if due = start.Add(c.in); c.new {
			want = append(want, due.UTC().Format(time.RFC3339))
		}
		if err := errors.Join(kr.Scheduler.Start(), kr.Scheduler.FirstCheck(t.Context()), kr.Scheduler.Stop(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range delivered(t, path) {
		got = append(got, n.Details["due"])
	}
	if !slices.Equal(got, want) {
		t.Errorf("told are %q, want %q", got, want)
	}
}

// TestVerifyFailed: whoever meets a record that somebody changed tells of it.
func TestVerifyFailed(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, `
notify "log" "audit" {
  path  = "told.jsonl"
  types = ["verify_failed"]
}
`)
	kr := open(t, path)
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(filepath.Dir(path), "keyrotor.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `UPDATE keys SET hard_limit = 7`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		kr, err := core.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kr.Encrypt(t.Context(), "payments", []byte("x"), nil); !errors.Is(err, keyring.ErrIntegrity) {
			t.Errorf("encrypting: %v", err)
		}
		if err := kr.Close(); err != nil {
			t.Fatal(err)
		}
	}
	told := delivered(t, path)
	if len(told) != 1 || told[0].Key != "payments" || told[0].ErrorCode != "integrity" || told[0].Details["digest"] == told[0].Details["expected_digest"] {
		t.Errorf("told %+v", told)
	}
}
