package core_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

// makeValues makes secret values under a key, each of its name.
func makeValues(t *testing.T, kr *core.Keyrotor, key, prefix string, n int) []secret.Rotatable {
	t.Helper()
	values := make([]secret.Rotatable, n)
	for i := range values {
		name := fmt.Sprint(prefix, i)
		v, err := secret.NewValue(t.Context(), kr, name, secret.Options{Name: name, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		values[i] = v
	}
	return values
}

// tampered makes a value of which a byte was altered.
func tampered(t *testing.T, kr *core.Keyrotor, key, name string) secret.Rotatable {
	t.Helper()
	token, err := kr.Encrypt(t.Context(), key, []byte("s3cret"), []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	at := len(token) - 10
	token[at] = map[bool]byte{true: 'B', false: 'A'}[token[at] == 'A']
	v, err := secret.FromToken[string](t.Context(), kr, token, secret.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reencryptedEvents are those of a key, newest first.
func reencryptedEvents(t *testing.T, kr *core.Keyrotor, key string) []history.Event {
	t.Helper()
	page, err := kr.History(t.Context(), history.Query{Key: key, Type: history.Reencrypted})
	if err != nil {
		t.Fatal(err)
	}
	events := make([]history.Event, len(page.Events))
	for i, raw := range page.Events {
		if events[i], err = history.Decode(raw); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// TestRotateManySecureValues: 100,000 at once, of which one in a hundred fails, half of
// them because they were tampered with and half because the new version has no uses left.
// The report is exact, and whoever could read a value still can.
func TestRotateManySecureValues(t *testing.T) {
	const total, broken, limited = 100_000, 500, 500
	kr := open(t, newDir(t))
	if _, err := kr.CreateKey(t.Context(), "many", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	values := makeValues(t, kr, "many", "v/", total)
	for i := 0; i < total; i += total / broken {
		values[i] = tampered(t, kr, "many", fmt.Sprint("v/", i))
	}
	setHardLimit(t, kr, "many", total-broken-limited)
	if _, err := kr.Rotate(t.Context(), "many", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	report, err := kr.RotateSecureValues(t.Context(), values, core.SecureValuesOptions{
		RotateOptions: secret.RotateOptions{Workers: max(4, runtime.GOMAXPROCS(0))}, Reason: keyring.ReasonEmergency, Note: "drill",
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Changed != total-broken-limited || report.Failed != broken+limited || report.Unchanged != 0 || report.Untouched != 0 {
		t.Errorf("%d changed, %d failed, %d unchanged, %d untouched", report.Changed, report.Failed, report.Unchanged, report.Untouched)
	}
	var tamperedWith, outOfUses int
	for i, out := range report.All() {
		name := fmt.Sprint("v/", i)
		v := values[i].(secret.Value[string])
		got, err := v.Get(t.Context())
		isTampered := i%(total/broken) == 0
		if isTampered != errors.Is(err, keyring.ErrAuthentication) || !isTampered && got != name {
			t.Fatalf("%s reads as %q, %v", name, got, err)
		}
		token, err := v.Ciphertext(t.Context())
		if err != nil || !strings.HasPrefix(string(token), fmt.Sprintf("keyrotor:many:v%d:", out.To)) {
			t.Fatalf("%s is under %.30s, %v; the report says %+v", name, token, err, out)
		}
		want := secret.Outcome{Name: name, Key: "many", From: 1, To: 2}
		switch {
		case isTampered && errors.Is(out.Err, keyring.ErrAuthentication):
			tamperedWith++
			want = secret.Outcome{Name: name, Key: "many", From: 1, To: 1, Err: out.Err}
		case errors.Is(out.Err, keyring.ErrUsageLimit):
			outOfUses++
			want = secret.Outcome{Name: name, Key: "many", From: 1, To: 1, Err: out.Err}
		}
		if out != want {
			t.Fatalf("the report says %+v, want %+v", out, want)
		}
		if out.Err != nil && !strings.HasPrefix(out.Err.Error(), `secret value "`+name+`": `) {
			t.Fatalf("%s fails with %v", name, out.Err)
		}
	}
	if tamperedWith != broken || outOfUses != limited {
		t.Errorf("%d were tampered with and %d found no uses, want %d and %d", tamperedWith, outOfUses, broken, limited)
	}
	events := reencryptedEvents(t, kr, "many")
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	e := events[0]
	if e.Count != total-broken-limited || e.Version != 2 || e.PreviousVersion != 1 || e.Reason != "emergency" || e.Note != "drill" || e.Operation == "" ||
		e.Details["failed"] != fmt.Sprint(broken+limited) || e.Details["from"] != "1" || e.Details["to"] != "2" || e.Details["untouched"] != "" {
		t.Errorf("the event is %+v", e)
	}
	// With uses, the rest follows.
	setHardLimit(t, kr, "many", total)
	again, err := kr.RotateSecureValues(t.Context(), values, core.SecureValuesOptions{})
	if err != nil || again.Changed != limited || again.Failed != broken || again.Unchanged != total-broken-limited {
		t.Errorf("again: %d changed, %d failed, %d unchanged, %v", again.Changed, again.Failed, again.Unchanged, err)
	}
}

// TestRotateSecureValues: one event for each key that something was done under.
func TestRotateSecureValues(t *testing.T) {
	kr := open(t, newDir(t))
	for _, key := range []string{"a", "b", "c"} {
		if _, err := kr.CreateKey(t.Context(), key, core.KeyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	a := makeValues(t, kr, "a", "a", 3)
	b := append(makeValues(t, kr, "b", "b", 2), tampered(t, kr, "b", "b2"))
	c := makeValues(t, kr, "c", "c", 2)
	rotate := func(key string) {
		t.Helper()
		if _, err := kr.Rotate(t.Context(), key, keyring.ReasonManual, ""); err != nil {
			t.Fatal(err)
		}
	}
	rotate("a")
	a = append(a, makeValues(t, kr, "a", "later", 1)...)
	rotate("a")
	rotate("b")
	report, err := kr.RotateSecureValues(t.Context(), append(append(append([]secret.Rotatable{}, a...), b...), c...), core.SecureValuesOptions{})
	if err != nil || report.Changed != 6 || report.Failed != 1 || report.Unchanged != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	told := func(key string) string {
		t.Helper()
		var lines []string
		for _, e := range reencryptedEvents(t, kr, key) {
			lines = append(lines, fmt.Sprint(e.Count, " from ", e.PreviousVersion, " to ", e.Version, " ", e.Reason, " ", e.Details))
		}
		return strings.Join(lines, "\n")
	}
	for key, want := range map[string]string{
		"a": "4 from 0 to 3 manual map[failed:0 from:1,2 subject:secret values to:3]",
		"b": "2 from 1 to 2 manual map[failed:1 from:1 subject:secret values to:2]",
		"c": "",
	} {
		if got := told(key); got != want {
			t.Errorf("key %s: %s\nwant %s", key, got, want)
		}
	}
	if ea, eb := reencryptedEvents(t, kr, "a"), reencryptedEvents(t, kr, "b"); ea[0].Operation != eb[0].Operation {
		t.Error("one act has two operation ids")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rotate("c")
	if r, err := kr.RotateSecureValues(ctx, c, core.SecureValuesOptions{}); !errors.Is(err, context.Canceled) || r.Untouched != 2 {
		t.Errorf("with a context that ended: %+v, %v", r, err)
	}
	if got := told("c"); got != "" {
		t.Errorf("nothing was done, and the history says %s", got)
	}
	ctx, cancel = context.WithCancel(t.Context())
	r, err := kr.RotateSecureValues(ctx, c, core.SecureValuesOptions{RotateOptions: secret.RotateOptions{Workers: 1, Batch: 1, Progress: func(secret.Progress) { cancel() }}})
	if !errors.Is(err, context.Canceled) || r.Changed != 1 || r.Untouched != 1 {
		t.Errorf("with a context that ends: %+v, %v", r, err)
	}
	if got, want := told("c"), "1 from 1 to 2 manual map[failed:0 from:1 subject:secret values to:2 untouched:1]"; got != want {
		t.Errorf("what was done until then: %s\nwant %s", got, want)
	}
}

// TestRotateSecureValuesRefuses: what no event may say changes nothing.
func TestRotateSecureValuesRefuses(t *testing.T) {
	kr := open(t, newDir(t))
	if _, err := kr.CreateKey(t.Context(), "a", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	values := makeValues(t, kr, "a", "a", 1)
	if _, err := kr.Rotate(t.Context(), "a", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]core.SecureValuesOptions{
		`there is no reason "because": use one of`: {Reason: "because"},
		`the note has the control character`:       {Note: "a\nb"},
		`-1 workers`:                               {RotateOptions: secret.RotateOptions{Workers: -1}},
	} {
		if _, err := kr.RotateSecureValues(t.Context(), values, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if token, err := values[0].(secret.Value[string]).Ciphertext(t.Context()); err != nil || !strings.HasPrefix(string(token), "keyrotor:a:v1:") {
		t.Errorf("it is under %s, %v", token, err)
	}
	// Another store's values fail, each by itself, and there is no history for them.
	other := open(t, initDir(t, core.InitOptions{}))
	if r, err := other.RotateSecureValues(t.Context(), values, core.SecureValuesOptions{}); err != nil || !errors.Is(r.Outcome(0).Err, keyring.ErrUnknownKey) {
		t.Errorf("in another store: %+v, %v", r, err)
	}
}

// TestSealedAccessesReachTheHistory: at the latest when the service ends.
func TestSealedAccessesReachTheHistory(t *testing.T) {
	path := newDir(t)
	kr, err := core.Opener{Actor: "billing-service"}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKey(t.Context(), "a", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	v, err := secret.NewValue(t.Context(), kr, "s3cret", secret.Options{Name: "DB_PASSWORD", Key: "a", Handling: secret.Sealed})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := v.Use(t.Context(), func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	page, err := open(t, path).History(t.Context(), history.Query{Key: "a", Type: history.Access})
	if err != nil || len(page.Events) != 1 {
		t.Fatalf("%d events, %v", len(page.Events), err)
	}
	e, err := history.Decode(page.Events[0])
	if err != nil || e.Count != 3 || e.Actor != "billing-service" || e.Details["names"] != "DB_PASSWORD=3" {
		t.Errorf("the event is %+v, %v", e, err)
	}
}

func setHardLimit(t *testing.T, kr *core.Keyrotor, key string, limit uint64) {
	t.Helper()
	if _, err := kr.Configure(t.Context(), key, engine.Settings{HardLimit: &limit}, ""); err != nil {
		t.Fatal(err)
	}
}
