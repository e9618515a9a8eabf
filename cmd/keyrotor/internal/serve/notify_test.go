package serve

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/testing/receiver"
)

const hookSecret = "0123456789abcdef0123456789abcdef"

func hook(name string, of *receiver.Receiver) string {
	return fmt.Sprintf("notify \"webhook\" %q {\n  url = %q\n  secret = %q\n  types = [\"key_rotated\"]\n}\n", name, of.URL(), hookSecret)
}

// rotated are the versions that a receiver took, in their order.
func rotated(of *receiver.Receiver) (versions []uint32) {
	for _, e := range of.Taken() {
		if e.Notice.Type == notify.KeyRotated {
			versions = append(versions, e.Notice.NewVersion)
		}
	}
	return versions
}

// TestReceiverDown: a receiver that is away shows in the metrics, and is no reason for
// the daemon to be ill.
func TestReceiverDown(t *testing.T) {
	s := newScene(t)
	hooks := receiver.New(t, hookSecret)
	hooks.Down()
	s.configure("keyrotor.db", hook("ops", hooks))
	s.start()
	url := s.url("")
	s.use("payments")
	s.until("the key is rotated", func() bool { return s.primary("payments") == 2 })
	s.until("the try shows", func() bool {
		failing, there := s.sample(url+"/metrics", "keyrotor_notify_failing", "target=ops")
		return there && failing == 1
	})
	if n, _ := s.sample(url+"/metrics", "keyrotor_notify_deliveries_total", "target=ops", "outcome=failed"); n < 1 {
		t.Errorf("%v failures are counted", n)
	}
	if _, there := s.sample(url+"/metrics", "keyrotor_notify_oldest_timestamp_seconds", "target=ops"); !there {
		t.Error("the oldest does not show")
	}
	for _, path := range []string{"/readyz", "/healthz"} {
		if status, body := s.get(url + path); status != http.StatusOK || strings.TrimSpace(body) != "ok" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	hooks.Up()
	hooks.Wait("the rotation", func([]receiver.Event) bool { return len(rotated(hooks)) == 1 })
	s.until("it is delivered", func() bool {
		open, there := s.sample(url+"/metrics", "keyrotor_notify_open", "target=ops")
		return there && open == 0
	})
	if n, _ := s.sample(url+"/metrics", "keyrotor_notify_deliveries_total", "target=ops", "outcome=delivered"); n != 1 {
		t.Errorf("%v deliveries are counted", n)
	}
	s.end()
}

// TestReloadHandsOver: with the config the targets change. What the old one was sending
// when it was told to end is sent by the new one, and nothing is sent by both.
func TestReloadHandsOver(t *testing.T) {
	s := newScene(t)
	first, second := receiver.New(t, hookSecret), receiver.New(t, hookSecret)
	s.configure("keyrotor.db", hook("ops", first))
	s.start()
	first.Hang()
	s.use("payments")
	first.Wait("a request that hangs", func(all []receiver.Event) bool { return len(all) == 1 })
	if v := s.primary("payments"); v != 2 {
		t.Errorf("while the receiver hangs, the primary is version %d", v)
	}
	s.configure("keyrotor.db", hook("ops", first)+hook("second", second))
	s.reload("reloaded")
	first.Answer(http.StatusNoContent)
	first.Wait("what was cut off", func([]receiver.Event) bool { return len(rotated(first)) == 1 })
	s.use("payments")
	for _, of := range []*receiver.Receiver{first, second} {
		of.Wait("the next rotation", func([]receiver.Event) bool { v := rotated(of); return len(v) > 0 && v[len(v)-1] == 3 })
	}
	if got := fmt.Sprint(rotated(first), rotated(second)); got != "[2 3] [3]" {
		t.Errorf("told %s", got)
	}
	s.end()
}
