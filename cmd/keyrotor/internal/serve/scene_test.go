package serve

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// pluginDir holds the local plugin and one that can be made to misbehave, and prepared
// what every scene begins with; they are made once.
var (
	pluginDir, prepared string
	prepare             sync.Once
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keyrotor-serve-")
	if err == nil {
		pluginDir, prepared = filepath.Join(dir, "plugins"), filepath.Join(dir, "prepared")
		err = errors.Join(procs.BuildLocal(pluginDir), procs.Build(filepath.Join(pluginDir, catalog.FileName("faulty")), "testing/hostile/plugin"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// patience is how long a machine that is slow may take for anything.
const patience = 30 * time.Second

// scene is a config with a key payments, and a daemon in this process.
type scene struct {
	*testing.T
	dir, config string
	journal     string // of the plugin that misbehaves
	log         record
	reloads     chan os.Signal
	stop        context.CancelFunc
	ended       chan error
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t, dir: t.TempDir(), reloads: make(chan os.Signal, 1), ended: make(chan error, 1)}
	prepare.Do(func() {
		var err error
		s.config, err = core.Init(t.Context(), prepared, core.InitOptions{PluginDir: pluginDir})
		s.must(err)
		s.configure("keyrotor.db", "")
		s.createKey("payments", "local")
	})
	entries, err := os.ReadDir(prepared)
	s.must(errors.Join(err, os.Mkdir(filepath.Join(s.dir, "kr"), 0o700)))
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(prepared, e.Name()))
		s.must(errors.Join(err, os.WriteFile(filepath.Join(s.dir, "kr", e.Name()), content, 0o600)))
	}
	s.config = filepath.Join(s.dir, "kr", "keyrotor.hcl")
	return s
}

// configure writes the config anew, with a store and what else there is to be.
func (s *scene) configure(db, more string) {
	s.Helper()
	s.must(os.WriteFile(s.config, fmt.Appendf(nil, `
storage "sqlite" {
  path = %q
}
plugins {
  directory = %q
}
provider "local" "local" {
  path = "keyrotor.kek"
}
%s`, db, pluginDir, more), 0o600))
}

// cloud is a provider block of the plugin that misbehaves on demand.
func (s *scene) cloud() string {
	return fmt.Sprintf("provider \"faulty\" \"cloud\" {\n  journal = %q\n  token = \"none\"\n}\n", s.journal)
}

// newCloud is a scene with a key orders, which a plugin wraps that misbehaves on demand.
func newCloud(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.journal = t.TempDir()
	s.configure("keyrotor.db", s.cloud())
	s.createKey("orders", "cloud")
	return s
}

// fault has the plugin do something wrong, or nothing any more if it is empty.
func (s *scene) fault(text string) {
	s.Helper()
	path := filepath.Join(s.journal, "cloud.fault")
	if text == "" {
		s.must(os.Remove(path))
		return
	}
	s.must(os.WriteFile(path, []byte(text), 0o600))
}

// called waits until the plugin has been called so for the n-th time, from 0.
func (s *scene) called(call string, n int) {
	s.Helper()
	s.until(fmt.Sprintf("%s is called", call), func() bool {
		_, err := os.Stat(filepath.Join(s.journal, fmt.Sprintf("cloud.%s.%d", call, n)))
		return err == nil
	})
}

// calls counts how often the plugin was called so.
func (s *scene) calls(call string) int {
	s.Helper()
	found, err := filepath.Glob(filepath.Join(s.journal, "cloud."+call+".*"))
	s.must(err)
	return len(found)
}

// hardLimit is that of the scene's keys: they are due when half of it is used.
const hardLimit = 100

func (s *scene) createKey(name string, wrapWith ...string) {
	s.Helper()
	kr, err := core.Opener{CreateStore: true}.Open(s.Context(), s.config)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := kr.Engine.CreateKey(s.Context(), name, keyring.Settings{WrapWith: wrapWith, HardLimit: hardLimit}, ""); err != nil {
		s.Fatal(err)
	}
	if err := kr.Close(); err != nil {
		s.Fatal(err)
	}
}

// start starts the daemon and waits until it is ready.
func (s *scene) start(change ...func(*Config)) {
	s.Helper()
	s.begin(change...)
	s.heard("ready")
}

func (s *scene) begin(change ...func(*Config)) {
	s.Helper()
	listen := "127.0.0.1:0"
	c := Config{
		Path: s.config, Version: "1.2.3", Listen: &listen, Reload: s.reloads,
		Opener: core.Opener{Interval: time.Second, Log: logTo(&s.log)},
	}
	for _, f := range change {
		f(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.ended <- Run(ctx, c) }()
	s.Cleanup(func() {
		cancel()
		if s.ended != nil {
			<-s.ended //nolint:errcheck // each test that waits for it looks at it
		}
		if s.Failed() {
			s.Log(s.log.String())
		}
	})
}

// end stops the daemon.
func (s *scene) end() {
	s.Helper()
	s.stop()
	s.endsWith("")
}

// endsWith waits for the end, and for an error that says so, if it says anything.
func (s *scene) endsWith(says string) {
	s.Helper()
	select {
	case err := <-s.ended:
		s.ended = nil
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			s.Errorf("it ended with %v, want %q", err, says)
		}
	case <-time.After(patience):
		s.Fatalf("it does not end\n%s", &s.log)
	}
}

// reload asks for one, and waits for what it comes to.
func (s *scene) reload(message string) map[string]any {
	s.Helper()
	s.log.forget()
	s.reloads <- syscall.SIGHUP
	return s.heard(message)
}

// heard waits for a message in the log.
func (s *scene) heard(message string) map[string]any {
	s.Helper()
	var found map[string]any
	s.until("the log says "+message, func() bool {
		found = s.log.find(message)
		return found != nil
	})
	return found
}

// until polls real processes.
func (s *scene) until(what string, condition func() bool) {
	s.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			s.Fatalf("it never came true that %s\n%s", what, &s.log)
		}
	}
}

// plugins counts the plugin processes of the daemon.
func (s *scene) plugins() (n int) {
	s.Helper()
	all, err := procs.Plugins(pluginDir)
	s.must(err)
	for _, p := range all {
		if p.Parent == os.Getpid() {
			n++
		}
	}
	return n
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// use hands out as many uses of a key as make it due.
func (s *scene) use(key string) {
	s.Helper()
	s.acquire(key, hardLimit/2)
}

func (s *scene) acquire(key string, uses uint64) {
	s.Helper()
	db := s.store()
	defer func() { _ = db.Close() }()
	_, err := db.Acquire(s.Context(), store.LeaseRequest{Key: key, Owner: "x", Count: uses, TTL: time.Minute})
	s.must(err)
}

// store opens the first store of the scene, as another process does.
func (s *scene) store() *sqlite.Store {
	s.Helper()
	db, err := sqlite.Open(s.Context(), sqlite.Config{Path: filepath.Join(filepath.Dir(s.config), "keyrotor.db")})
	s.must(err)
	return db
}

// primary is the primary version of a key, by the store.
func (s *scene) primary(key string) uint32 {
	s.Helper()
	db := s.store()
	defer func() { _ = db.Close() }()
	k, err := db.Key(s.Context(), key)
	s.must(err)
	return k.Primary
}

// damage changes a database behind everybody's back.
func (s *scene) damage(name, statement string) {
	s.Helper()
	db, err := sql.Open("sqlite", filepath.Join(filepath.Dir(s.config), name))
	s.must(err)
	_, err = db.ExecContext(s.Context(), statement)
	s.must(errors.Join(err, db.Close()))
}

// schedulers lists those that the store knows.
func (s *scene) schedulers() []store.SchedulerCheck {
	s.Helper()
	db := s.store()
	defer func() { _ = db.Close() }()
	list, err := db.Schedulers(s.Context())
	s.must(err)
	return list
}

// getUnix asks for /healthz at a Unix socket.
func (s *scene) getUnix(path string) string {
	s.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://daemon/healthz", nil)
	s.must(err)
	res, err := transport.RoundTrip(req)
	s.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	s.must(err)
	return string(text)
}

// url is where the daemon serves.
func (s *scene) url(path string) string {
	s.Helper()
	return "http://" + s.heard("serving HTTP")["address"].(string) + path
}

func (s *scene) get(url string, header ...string) (status int, body string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, url, nil)
	if err != nil {
		s.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// sample is a metric's value in an answer of /metrics; labels are NAME=VALUE.
func (s *scene) sample(url, name string, labels ...string) (value float64, there bool) {
	s.Helper()
	status, body := s.get(url)
	if status != http.StatusOK {
		s.Fatalf("metrics: status %d", status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for _, m := range families[name].GetMetric() {
		got := make(map[string]string)
		for _, l := range m.GetLabel() {
			got[l.GetName()] = l.GetValue()
		}
		match := true
		for _, l := range labels {
			k, v, _ := strings.Cut(l, "=")
			match = match && got[k] == v
		}
		if match {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
		}
	}
	return 0, false
}

// record is a log in JSON that is read while it is written.
type record struct {
	mu   sync.Mutex
	text strings.Builder
	from int
}

func logTo(r *record) *slog.Logger {
	return slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// forget has find look at what comes from now on.
func (r *record) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from = r.text.Len()
}

// find answers the newest record of a message, nil if there is none.
func (r *record) find(message string) map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found map[string]any
	for line := range strings.Lines(r.text.String()[r.from:]) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == message {
			found = record
		}
	}
	return found
}
