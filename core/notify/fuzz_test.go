package notify

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/core/store"
)

// FuzzRetryAfter: whatever a receiver says, the pause is none or a sane one.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "120", " 7 ", "-1", "1.5", "99999999999999999999", "Sun, 01 Mar 2026 12:01:00 GMT", "Sunday, 01-Mar-26 12:01:00 GMT", "soon"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		after := retryAfter(text, now)
		if after < 0 {
			t.Errorf("%q is %s", text, after)
		}
		for failures := range 12 {
			if p := pause(failures, after); p < min(after, longestAfter) || p > max(lastPause, min(after, longestAfter)) {
				t.Errorf("after %q and %d failures, a pause of %s", text, failures, p)
			}
		}
		if at, err := http.ParseTime(strings.TrimSpace(text)); err == nil && at.After(now) && after == 0 {
			t.Errorf("%q is no pause", text)
		}
	})
}

// TestRetryAfter: seconds, or a date.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 7 ": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0,
		"Sun, 01 Mar 2026 12:01:00 GMT": time.Minute, "Sun, 01 Mar 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// TestPause: it grows, and is not the same for all.
func TestPause(t *testing.T) {
	for failures, bound := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 9: 5 * time.Minute, 10: 5 * time.Minute, 1 << 30: 5 * time.Minute} {
		var least, most time.Duration = time.Hour, 0
		for range 1000 {
			p := pause(failures, 0)
			least, most = min(least, p), max(most, p)
		}
		if most >= bound || most < bound*8/10 || least > bound*2/10 {
			t.Errorf("after %d failures from %s to %s, want up to %s", failures, least, most, bound)
		}
	}
}

// FuzzSecret: a secret is refused, or has a key of a length that keeps it; an error never
// shows a part of it.
func FuzzSecret(f *testing.F) {
	for _, s := range []string{"", "short", "a-secret-of-more-than-24-bytes", "whsec_", "whsec_QUFBQkJCQ0NDREREMTIzNDU2Nzg5MGFiY2RlZmdoaWo=", "whsec_QUFBQkJCQ0NDREREMTIzNDU2Nzg5MGFiY2RlZmdoaWo", "whsec_!!!!", "whsec_QUFB\nQkJCQ0NDREREMTIzNDU2Nzg5MGFiY2RlZmdoaWo="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		given := secret.FromString(text)
		key, err := signingKey(given)
		if string(given.Reveal()) != text {
			t.Errorf("the secret was changed to %q", given.Reveal())
		}
		if err != nil {
			if rest := strings.TrimPrefix(text, secretPrefix); len(rest) > 8 && strings.Contains(err.Error(), rest) {
				t.Errorf("shown in %q", err)
			}
			return
		}
		if key.Len() < MinSecret {
			t.Errorf("a key of %d bytes", key.Len())
		}
		if coded := strings.HasPrefix(text, secretPrefix); coded == bytes.Equal(key.Reveal(), []byte(text)) {
			t.Errorf("%q became the key %q", text, key.Reveal())
		}
	})
}

// FuzzFeed: whatever stands in the feed is told, or said to be unreadable; what is told
// can be sent, and read from what was sent.
func FuzzFeed(f *testing.F) {
	f.Add([]byte(`{"schema":1,"seq":3,"type":"rotation","time":"2026-03-01T12:00:00Z","key":"payments","version":2,"details":{"policy":"p"}}`))
	f.Add([]byte(`{"schema":1,"type":"degraded","provider":"\u0000","time":"0001-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"schema":2}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		batch := store.Batch{Events: []store.FeedEvent{{Seq: 7, Bytes: b}}}
		list, _ := read(batch, store.Position{}, batchSize)
		if len(list) == 0 {
			return
		}
		if strings.Contains(list[0].ID, ".") || !strings.HasPrefix(list[0].ID, "7-") {
			t.Errorf("id %q", list[0].ID)
		}
		if list[0].err != nil {
			if _, err := history.Decode(b); err == nil {
				t.Errorf("%s: %v", b, list[0].err)
			}
			return
		}
		m, err := encode(keyring.StoreID{1}, list[0].Notice)
		if err != nil {
			return // such as a time that JSON cannot hold
		}
		back, err := decode(m.Body)
		if err != nil {
			t.Fatalf("%s: %v", m.Body, err)
		}
		again, err := encode(keyring.StoreID{1}, back.Notice)
		if err != nil || !bytes.Equal(again.Body, m.Body) {
			t.Errorf("%s became %s, %v", m.Body, again.Body, err)
		}
	})
}
