package serve

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// TestStopWaits: a rotation that is under way is finished before the end.
func TestStopWaits(t *testing.T) {
	s := newCloud(t)
	s.start()
	url := s.url("")
	before := s.calls("GenerateDataKey")
	s.fault("GenerateDataKey wait")
	s.use("orders")
	s.called("GenerateDataKey", before)
	s.stop()
	s.heard("stopping")
	if status, body := s.get(url + "/readyz"); status != http.StatusServiceUnavailable || body != "the daemon is stopping\n" {
		t.Errorf("readyz while it stops: %d %q", status, body)
	}
	if s.log.find("stopped") != nil {
		t.Error("it did not wait")
	}
	s.fault("")
	s.endsWith("")
	if v := s.primary("orders"); v != 2 {
		t.Errorf("the primary is version %d", v)
	}
}

// TestStopCancels: a rotation that takes too long is cancelled, and its key stays as it
// was.
func TestStopCancels(t *testing.T) {
	s := newCloud(t)
	s.start(func(c *Config) { c.ShutdownTimeout = time.Millisecond })
	before := s.calls("GenerateDataKey")
	s.fault("GenerateDataKey hang")
	s.use("orders")
	s.called("GenerateDataKey", before)
	s.end()
	if s.log.find("rotations took longer than the shutdown timeout and were cancelled; the keys stay as they were") == nil {
		t.Errorf("the log does not say so:\n%s", &s.log)
	}
	if v := s.primary("orders"); v != 1 {
		t.Errorf("the primary is version %d", v)
	}
}

// TestKeyManagerDown: keys whose key manager fails are named, and the daemon is ready
// as long as there are others.
func TestKeyManagerDown(t *testing.T) {
	s := newCloud(t)
	s.fault("GenerateDataKey denied")
	s.start()
	url := s.url("")
	s.use("orders")
	s.heard("a rotation failed; the key stays in use, and it is tried again")
	var status int
	var body string
	s.until("the failure is on record", func() bool {
		status, body = s.get(url + "/readyz")
		return body != "ok\n"
	})
	if status != http.StatusOK || !strings.HasPrefix(body, "ok\ndegraded: key orders, policy hard_limit: failures: 1 (denied), next try at ") {
		t.Errorf("with another key: %d %q", status, body)
	}
	if v, _ := s.sample(url+"/metrics", "keyrotor_rotation_failures_total", "key=orders", "policy=hard_limit", "code=denied"); v < 1 {
		t.Errorf("%v failures", v)
	}
	if v, _ := s.sample(url+"/metrics", "keyrotor_policy_failures", "key=orders", "policy=hard_limit"); v < 1 {
		t.Errorf("%v failures of the policy", v)
	}
	s.end()
}

// TestNothing: keys that need the same key managers share their luck.
func TestNothing(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	keys := []store.Facts{
		{Name: "a", WrapWith: []string{"x", "y"}},
		{Name: "b", WrapWith: []string{"y", "x"}},
		{Name: "c", WrapWith: []string{"z"}},
	}
	down, up := func(n int) outcome { return outcome{at.Add(time.Duration(n)), true} }, func(n int) outcome { return outcome{at.Add(time.Duration(n)), false} }
	for name, c := range map[string]struct {
		of   map[string]outcome
		want bool
	}{
		"nothing was tried":     {nil, false},
		"one of three":          {map[string]outcome{"a": down(1)}, false},
		"one in each group":     {map[string]outcome{"b": down(1), "c": down(2)}, true},
		"another came through":  {map[string]outcome{"a": down(1), "b": up(2), "c": down(3)}, false},
		"and then did not":      {map[string]outcome{"a": down(3), "b": up(2), "c": down(1)}, true},
		"trouble of one's own":  {map[string]outcome{"a": down(1), "c": up(1)}, false},
		"of a key that is none": {map[string]outcome{"gone": down(1)}, false},
	} {
		if got := (&outcomes{of: c.of}).nothing(keys); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
	if (&outcomes{}).nothing(nil) {
		t.Error("a store without keys")
	}
}
