package serve

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refusal is what the log says of a reload that changes nothing.
const refusal = "reload refused: the config is not in use, and the one before is"

// TestReloadRefused: a config that cannot be opened whole changes nothing, and what is
// in use goes on.
func TestReloadRefused(t *testing.T) {
	s := newScene(t)
	s.configure("broken.db", "")
	s.createKey("payments", "local")
	s.damage("broken.db", "DROP TABLE policy_checks")
	s.configure("keyrotor.db", "")
	s.start()
	url := s.url("")
	for i, c := range []struct {
		name, before, after string
		says                string
	}{
		{"syntax", "storage", "storagf", "storagf"},
		{"first check", "keyrotor.db", "broken.db", "the first check of policies failed: "},
		{"no store", "keyrotor.db", "other.db", "there is no store at "},
		{"no plugin", pluginDir, s.dir, "put its binary into the plugin directory"},
		{"lock", "plugins {", "plugins {\n  lock = \"none.lock\"", "none.lock"},
	} {
		s.edit(c.before, c.after)
		why := fmt.Sprint(s.reload(refusal)["error"])
		if !strings.Contains(why, c.says) {
			t.Errorf("%s: the log says %q", c.name, why)
		}
		if v, there := s.sample(url+"/metrics", "keyrotor_config_last_reload_successful"); !there || v != 0 {
			t.Errorf("%s: keyrotor_config_last_reload_successful is %v (%t)", c.name, v, there)
		}
		s.use("payments")
		s.until("it still rotates", func() bool { return s.primary("payments") == uint32(i+2) })
		if status, body := s.get(url + "/readyz"); status != http.StatusOK {
			t.Errorf("%s: readyz %d %q", c.name, status, body)
		}
		s.edit(c.after, c.before)
	}
	s.reload("reloaded")
	if v, _ := s.sample(url+"/metrics", "keyrotor_config_last_reload_successful"); v != 1 {
		t.Errorf("after one that works: %v", v)
	}
	s.end()
}

// TestReload: another store and other providers take the place of what is in use, whose
// plugins end, and metrics go on counting.
func TestReload(t *testing.T) {
	s := newCloud(t)
	s.start()
	url := s.url("")
	s.use("payments")
	s.until("the key is rotated", func() bool { return s.primary("payments") == 2 })
	if n := s.plugins(); n != 2 {
		t.Errorf("%d plugins run", n)
	}
	s.configure("second.db", "")
	s.createKey("cards", "local")
	s.reload("reloaded")
	if n := s.plugins(); n != 1 {
		t.Errorf("%d plugins run after the reload", n)
	}
	if _, there := s.sample(url+"/metrics", "keyrotor_key_primary_version", "key=payments"); there {
		t.Error("a key of the store before shows")
	}
	if v, _ := s.sample(url+"/metrics", "keyrotor_key_primary_version", "key=cards"); v != 1 {
		t.Errorf("the key of the new store has the primary %v", v)
	}
	if v, _ := s.sample(url+"/metrics", "keyrotor_rotations_total", "key=payments"); v != 1 {
		t.Errorf("%v rotations are counted", v)
	}
	s.end()
}

// TestReloadKeyManagerDown: a key manager that is not there is no reason to refuse a
// config.
func TestReloadKeyManagerDown(t *testing.T) {
	s := newCloud(t)
	s.start()
	s.fault("Check denied")
	s.reload("reloaded")
	if r := s.log.find("a key manager is not in order; its keys cannot be rotated"); r == nil || r["provider"] != "cloud" || r["code"] != "DENIED" {
		t.Errorf("the log says %v", r)
	}
	s.fault("Configure config")
	if why := fmt.Sprint(s.reload(refusal)["error"]); !strings.Contains(why, "INVALID_CONFIG") {
		t.Errorf("a configuration that the plugin does not take: %q", why)
	}
	s.end()
}

// TestReloadFinishes: a rotation that is under way is finished by what began it, while
// what took its place rotates other keys.
func TestReloadFinishes(t *testing.T) {
	s := newCloud(t)
	s.start()
	before := s.calls("GenerateDataKey")
	s.fault("GenerateDataKey wait")
	s.use("orders")
	s.called("GenerateDataKey", before)
	s.log.forget()
	s.reloads <- syscall.SIGHUP
	s.heard("reloading")
	s.use("payments")
	s.until("the other key is rotated", func() bool { return s.primary("payments") == 2 })
	if s.log.find("reloaded") != nil || s.primary("orders") != 1 {
		t.Error("it did not wait")
	}
	s.fault("")
	s.heard("reloaded")
	if v, n := s.primary("orders"), s.calls("GenerateDataKey"); v != 2 || n != before+1 {
		t.Errorf("the primary is version %d after %d calls", v, n-before)
	}
	s.end()
}

// TestReloadStaysOnRecord: what was in use takes the process off the store's record, and
// what took its place does not wait for an interval to put it back.
func TestReloadStaysOnRecord(t *testing.T) {
	s := newScene(t)
	s.start(func(c *Config) { c.Opener.Interval = time.Hour })
	s.reload("reloaded")
	s.until("the scheduler is on record", func() bool { return len(s.schedulers()) == 1 })
	s.end()
	if n := len(s.schedulers()); n != 0 {
		t.Errorf("%d schedulers are on record after the end", n)
	}
}

// TestStopDuringReload: what is replaced and what takes its place are both given the
// time that a stop has.
func TestStopDuringReload(t *testing.T) {
	s := newCloud(t)
	s.start()
	before := s.calls("GenerateDataKey")
	s.fault("GenerateDataKey wait")
	s.use("orders")
	s.called("GenerateDataKey", before)
	s.log.forget()
	s.reloads <- syscall.SIGHUP
	s.heard("plugin started")
	s.stop()
	s.heard("stopping")
	s.fault("")
	s.endsWith("")
	if v := s.primary("orders"); v != 2 {
		t.Errorf("the primary is version %d", v)
	}
}

// TestReloadsQueue: each is over before the next begins, and the last word counts.
func TestReloadsQueue(t *testing.T) {
	s := newScene(t)
	s.start()
	s.log.forget()
	for _, text := range []string{"a = 1", "", "b = 2", ""} {
		s.configure("keyrotor.db", text)
		s.reloads <- syscall.SIGHUP
	}
	var order []string
	s.until("the last reload is over, and is of the config as it is now", func() bool {
		order = nil
		for line := range strings.Lines(s.log.String()) {
			for _, message := range []string{"reloading", "reloaded", "reload refused"} {
				if strings.Contains(line, `"msg":"`+message) {
					order = append(order, message)
				}
			}
		}
		return len(s.reloads) == 0 && len(order) >= 4 && order[len(order)-1] == "reloaded"
	})
	for i, message := range order {
		if (i%2 == 0) != (message == "reloading") {
			t.Fatalf("reloads overlap: %q", order)
		}
	}
	s.end()
}

// TestListenMoves: another address is served before the one in use is given up, and one
// that is taken refuses the reload.
func TestListenMoves(t *testing.T) {
	s := newScene(t)
	listen := func(addr string) {
		s.configure("keyrotor.db", fmt.Sprintf("serve {\n  listen = %q\n}\n", addr))
	}
	listen("127.0.0.1:0")
	s.start(func(c *Config) { c.Listen = nil })
	first := s.url("")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	defer func() { _ = taken.Close() }()

	listen(taken.Addr().String())
	if why := fmt.Sprint(s.reload(refusal)["error"]); !strings.Contains(why, "address already in use") {
		t.Errorf("an address that is taken: %q", why)
	}
	if status, _ := s.get(first + "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d", status)
	}

	path := filepath.Join(s.dir, "s")
	listen("unix:" + path)
	s.reload("reloaded")
	if _, err := net.Dial("tcp", strings.TrimPrefix(first, "http://")); err == nil {
		t.Error("it listens at the first address still")
	}
	if got := s.getUnix(path); got != "ok\n" {
		t.Errorf("the socket answers %q", got)
	}

	listen("")
	s.reload("reloaded")
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the socket is there still")
	}
	s.end()
}

// TestReloadPolicy: a policy acts as soon as the config has it, and no longer.
func TestReloadPolicy(t *testing.T) {
	s := newScene(t)
	s.configure("keyrotor.db", "scheduler {\n  interval = \"1s\"\n}\n")
	s.start(func(c *Config) { c.Opener.Interval = 0 })
	url := s.url("/metrics")
	s.acquire("payments", 20)
	checks, _ := s.sample(url, "keyrotor_scheduler_last_check_timestamp_seconds")
	s.until("the key was looked at", func() bool {
		now, _ := s.sample(url, "keyrotor_scheduler_last_check_timestamp_seconds")
		return now > checks
	})
	if v := s.primary("payments"); v != 1 {
		t.Errorf("it was rotated without a policy, to version %d", v)
	}

	s.configure("keyrotor.db", "scheduler {\n  interval = \"2s\"\n}\n"+`
key "payments" {
  rotation {
    max_uses = 10
  }
}
`)
	s.reload("reloaded")
	s.until("the key is rotated", func() bool { return s.primary("payments") == 2 })
	if v, _ := s.sample(url, "keyrotor_scheduler_interval_seconds"); v != 2 {
		t.Errorf("the interval is %v", v)
	}
	s.until("the rotation is counted", func() bool {
		v, _ := s.sample(url, "keyrotor_rotations_total", "key=payments", "policy=max_uses")
		return v == 1
	})
	if _, there := s.sample(url, "keyrotor_policy_due", "policy=max_uses"); !there {
		t.Error("the policy does not show")
	}

	s.configure("keyrotor.db", "")
	s.reload("reloaded")
	if _, there := s.sample(url, "keyrotor_policy_due", "policy=max_uses"); there {
		t.Error("the policy that is no more shows")
	}
	s.end()
}
