package serve

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

// TestServe: a key that becomes due is rotated, and everybody who asks hears of it.
func TestServe(t *testing.T) {
	s := newScene(t)
	s.start()
	url := s.url("")
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := s.get(url + path); status != http.StatusOK || body != "ok\n" {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	if status, body := s.get(url+"/readyz", "Accept: text/html, application/json;q=0.9"); status != http.StatusOK || body != `{"ready":true,"reasons":[],"degraded":[]}`+"\n" {
		t.Errorf("readyz in JSON: %d %q", status, body)
	}
	s.use("payments")
	s.until("the rotation is counted", func() bool {
		v, _ := s.sample(url+"/metrics", "keyrotor_rotations_total", "reason=usage_limit", "policy=hard_limit", "key=payments")
		return v == 1
	})
	for name, want := range map[string]float64{
		"keyrotor_key_primary_version key=payments": 2,
		"keyrotor_store_up":                         1,
		"keyrotor_scheduler_keys":                   1,
		"keyrotor_scheduler_interval_seconds":       1,
		"keyrotor_config_last_reload_successful":    1,
		"keyrotor_build_info version=1.2.3":         1,
		"keyrotor_key_versions state=deactivated":   1,
	} {
		labels := strings.Fields(name)
		if got, there := s.sample(url+"/metrics", labels[0], labels[1:]...); !there || got != want {
			t.Errorf("%s is %v (%t), want %v", name, got, there, want)
		}
	}
	for _, name := range []string{"go_goroutines", "process_open_fds", "keyrotor_config_last_reload_timestamp_seconds", "keyrotor_scheduler_last_check_timestamp_seconds"} {
		if v, there := s.sample(url+"/metrics", name); !there || v <= 0 {
			t.Errorf("%s is %v (%t)", name, v, there)
		}
	}
	s.end()
	for _, message := range []string{"starting", "plugin started", "serving HTTP", "ready", "rotated", "stopping", "stopped"} {
		if s.log.find(message) == nil {
			t.Errorf("the log does not say %q", message)
		}
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		t.Error("it still listens")
	}
}

// TestHTTPRefuses what is no question that it answers.
func TestHTTPRefuses(t *testing.T) {
	s := newScene(t)
	s.start()
	url := s.url("")
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodPost, "/metrics", http.StatusMethodNotAllowed},
		{http.MethodPut, "/readyz", http.StatusMethodNotAllowed},
		{http.MethodDelete, "/healthz", http.StatusMethodNotAllowed},
		{http.MethodHead, "/healthz", http.StatusOK},
		{http.MethodGet, "/", http.StatusNotFound},
		{http.MethodGet, "/debug/pprof/", http.StatusNotFound},
		{http.MethodGet, "/debug/requests", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.status || res.Header.Get("Server") != "" || strings.Contains(string(body), "go1.") {
			t.Errorf("%s %s: %d %v %q, want %d", c.method, c.path, res.StatusCode, res.Header, body, c.status)
		}
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("x", 2*maxHeaderBytes)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("a header that is too long: %q, %v", answer, err)
	}
}

// TestUnready: while another process keeps the store locked, nothing can be rotated, and
// that is no reason to end the process.
func TestUnready(t *testing.T) {
	s := newScene(t)
	s.start()
	url := s.url("")
	db, err := sql.Open("sqlite", filepath.Join(filepath.Dir(s.config), "keyrotor.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	var body string
	s.until("it is unready", func() bool {
		var status int
		status, body = s.get(url + "/readyz")
		return status == http.StatusServiceUnavailable
	})
	if !strings.HasPrefix(body, "the newest check of policies was ") {
		t.Errorf("it says %q", body)
	}
	if status, body := s.get(url+"/readyz", "Accept: application/json"); status != http.StatusServiceUnavailable || !strings.HasPrefix(body, `{"ready":false,"reasons":["the newest check of policies was `) {
		t.Errorf("in JSON: %d %q", status, body)
	}
	if status, body := s.get(url + "/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d %q", status, body)
	}
	if v, _ := s.sample(url+"/metrics", "keyrotor_key_primary_version", "key=payments"); v != 1 {
		t.Errorf("metrics have the primary version %v", v)
	}
	if err := errors.Join(func() error {
		_, err := conn.ExecContext(t.Context(), "ROLLBACK")
		return err
	}(), conn.Close()); err != nil {
		t.Fatal(err)
	}
	s.until("it is ready again", func() bool {
		status, _ := s.get(url + "/readyz")
		return status == http.StatusOK
	})
}

// TestReadOnly: a store that is read and not written keeps every key from being rotated.
func TestReadOnly(t *testing.T) {
	s := newScene(t)
	db := s.store()
	defer func() { _ = db.Close() }()
	sched, err := scheduler.New(scheduler.Config{
		Store: readOnly{db}, Owner: "test",
		Rotate: func(context.Context, scheduler.Rotation) (uint32, error) { return 0, nil },
	})
	s.must(err)
	s.must(sched.Start())
	s.must(sched.FirstCheck(t.Context()))
	var r readiness
	(&daemon{clock: clockwork.NewRealClock()}).checked(&r, sched)
	if len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "cannot be written") {
		t.Errorf("reasons %q", r.Reasons)
	}
	s.must(sched.Stop(t.Context()))
}

type readOnly struct{ store.Policies }

func (readOnly) RecordChecks(context.Context, store.SchedulerCheck, []store.PolicyCheck) error {
	return store.ErrReadOnly
}

// TestStoreBroken: a store that is destroyed under the daemon shows everywhere, and
// costs no more than what is about keys.
func TestStoreBroken(t *testing.T) {
	s := newScene(t)
	s.start()
	url := s.url("")
	path := filepath.Join(filepath.Dir(s.config), "keyrotor.db")
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(strings.Repeat("garbage ", int(info.Size())/8)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var body string
	s.until("it is unready", func() bool {
		var status int
		status, body = s.get(url + "/readyz")
		return status == http.StatusServiceUnavailable
	})
	if !strings.Contains(body, "damaged") {
		t.Errorf("it says %q", body)
	}
	if v, there := s.sample(url+"/metrics", "keyrotor_store_up"); !there || v != 0 {
		t.Errorf("keyrotor_store_up is %v (%t)", v, there)
	}
	if _, there := s.sample(url+"/metrics", "keyrotor_scheduler_interval_seconds"); !there {
		t.Error("the other metrics are gone")
	}
	if status, _ := s.get(url + "/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	s.end()
}

// TestStartFails: what cannot be served is said, and nothing is left.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for name, c := range map[string]struct {
		change func(*scene, *Config)
		says   string
	}{
		"no store": {func(s *scene, _ *Config) {
			s.must(os.Remove(filepath.Join(filepath.Dir(s.config), "keyrotor.db")))
		}, "there is no store"},
		"bad config": {func(s *scene, _ *Config) { s.edit("storage", "storagf") }, `"storagf"`},
		"address taken": {func(_ *scene, c *Config) {
			addr := taken.Addr().String()
			c.Listen = &addr
		}, "address already in use: choose another address with --listen"},
		"first check": {func(s *scene, _ *Config) { s.damage("keyrotor.db", "DROP TABLE policy_checks") }, "the first check of policies failed"},
		"plugin gone": {func(s *scene, _ *Config) { s.edit(pluginDir, s.dir) }, "put its binary into the plugin directory"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.begin(func(cfg *Config) { c.change(s, cfg) })
			s.endsWith(c.says)
		})
	}
}

// edit replaces text in the config file.
func (s *scene) edit(before, after string) {
	s.Helper()
	text, err := os.ReadFile(s.config)
	s.must(err)
	if !strings.Contains(string(text), before) {
		s.Fatalf("the config does not have %q:\n%s", before, text)
	}
	s.must(os.WriteFile(s.config, []byte(strings.ReplaceAll(string(text), before, after)), 0o600))
}

// TestStopBeforeReady: who stops it while it starts gets no error.
func TestStopBeforeReady(t *testing.T) {
	s := newScene(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	listen := ""
	c := Config{Path: s.config, Listen: &listen, Reload: s.reloads}
	c.Opener.Log = slog.New(slog.DiscardHandler)
	if err := Run(ctx, c); err != nil {
		t.Error(err)
	}
}
