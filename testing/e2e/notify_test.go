package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/testing/procs"
	"github.com/keyrotor/keyrotor/testing/receiver"
)

const (
	notifySecret = "whsec_dGhpcyBpcyBubyBzZWNyZXQgYXQgYWxsLCBpdCBpcyBhIHRlc3Q="
	// notifyPatience is how long a machine that is slow may take for anything.
	notifyPatience = time.Minute
)

// notifyScene is an installation with a webhook, and the daemon that delivers to it.
type notifyScene struct {
	*testing.T
	binary, config string
	hooks          *receiver.Receiver
	kr             *core.Keyrotor
	daemon         *exec.Cmd
	// log is a file: a daemon that is alive writes to it while the test reads.
	log *os.File
}

func newNotifyScene(t *testing.T) *notifyScene {
	t.Helper()
	dir := t.TempDir()
	s := &notifyScene{T: t, binary: filepath.Join(dir, "keyrotor"), hooks: receiver.New(t, notifySecret)}
	var err error
	if s.log, err = os.Create(filepath.Join(dir, "daemon.log")); err != nil {
		t.Fatal(err)
	}
	if err := procs.Build(s.binary, "cmd/keyrotor"); err != nil {
		t.Fatal(err)
	}
	// In a folder of its own: the other tests look for plugins whose host is none of them.
	plugins := filepath.Join(dir, "plugins")
	if err := os.CopyFS(plugins, os.DirFS(pluginDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(plugins, catalog.FileName("local")), 0o755); err != nil {
		t.Fatal(err)
	}
	if s.config, err = core.Init(t.Context(), filepath.Join(dir, "keys"), core.InitOptions{PluginDir: plugins}); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(s.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(file, `
key "counted" {
  rotation {
    max_uses = 1
  }
}
serve {
  listen = ""
}
notify "webhook" "ops" {
  url     = %q
  secret  = env("HOOK_SECRET")
  types   = ["key_created", "key_rotated"]
  timeout = "1s"
}
`, s.hooks.URL())
	if err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	t.Setenv("HOOK_SECRET", notifySecret)
	if s.kr, err = core.Open(t.Context(), s.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.daemon != nil {
			s.kill()
		}
		if err := errors.Join(s.kr.Close(), s.log.Close()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", s.logged())
		}
	})
	return s
}

// serve starts the daemon.
func (s *notifyScene) serve() {
	s.Helper()
	s.daemon = exec.Command(s.binary, "serve", "--interval", "1s", "--config", s.config)
	s.daemon.Stderr = s.log
	if err := s.daemon.Start(); err != nil {
		s.Fatal(err)
	}
}

// logged is what the daemons have written.
func (s *notifyScene) logged() string {
	s.Helper()
	b, err := os.ReadFile(s.log.Name())
	if err != nil {
		s.Error(err)
	}
	return string(b)
}

// kill is SIGKILL.
func (s *notifyScene) kill() {
	_ = s.daemon.Process.Kill()
	_ = s.daemon.Wait() // its end says nothing new
	s.daemon = nil
}

// run runs a command that must succeed.
func (s *notifyScene) run(stdin string, args ...string) string {
	s.Helper()
	cmd := exec.Command(s.binary, append(args, "--config", s.config)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("keyrotor %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// useUp uses a version as often as its policy allows, and waits until the daemon has
// rotated the key.
func (s *notifyScene) useUp(key string) {
	s.Helper()
	before, err := s.kr.Describe(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	s.run("x", "encrypt", key)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(notifyPatience); ; {
		now, err := s.kr.Describe(s.Context(), key)
		if err != nil {
			s.Fatal(err)
		}
		if now.Primary > before.Primary {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.Fatalf("%s is not rotated", key)
		}
	}
}

// step is what is told of a key, by what the history has.
type step struct {
	Type    notify.Type
	Version uint32
}

// want reads what is to be told from the history, by key in its order.
func (s *notifyScene) want() map[string][]step {
	s.Helper()
	page, err := s.kr.History(s.Context(), history.Query{Limit: 1000})
	if err != nil {
		s.Fatal(err)
	}
	want := make(map[string][]step)
	for _, b := range slices.Backward(page.Events) {
		e, err := history.Decode(b)
		if err != nil {
			s.Fatal(err)
		}
		switch {
		case e.Type == history.Creation && e.Version == 1:
			want[e.Key] = append(want[e.Key], step{notify.KeyCreated, 1})
		case e.Type == history.Rotation:
			want[e.Key] = append(want[e.Key], step{notify.KeyRotated, e.Version})
		}
	}
	return want
}

// TestNotifications: a receiver that is away, fails, and hangs, and a daemon that is
// killed, lose nothing of what any process does. Each event comes with one id and one
// body however often it comes, and those of a key in their order. No rotation waits.
func TestNotifications(t *testing.T) {
	s := newNotifyScene(t)
	hooks := s.hooks

	// Away. What happens before the daemon runs, is told by it, too.
	hooks.Down()
	for _, key := range []string{"payments", "orders", "counted"} {
		s.run("", "key", "create", key)
	}
	s.serve()
	s.run("", "key", "rotate", "payments")

	// Back, and failing.
	hooks.Answer(http.StatusInternalServerError)
	hooks.Up()
	hooks.Wait("a failure", func(all []receiver.Event) bool {
		return len(all) > 0 && all[len(all)-1].Status == http.StatusInternalServerError
	})
	s.run("", "key", "rotate", "orders")
	s.useUp("counted")

	// Hanging. From the first request that hangs on nothing is answered, and everything
	// that is done meanwhile is over before anything is.
	hooks.Hang()
	seen := len(hooks.All())
	hooks.Wait("a request that hangs", func(all []receiver.Event) bool {
		return slices.ContainsFunc(all[seen:], func(e receiver.Event) bool { return e.Status == 0 })
	})
	seen = len(hooks.All())
	s.run("", "key", "rotate", "payments", "--reason", "emergency")
	s.useUp("counted")
	if answered := hooks.All()[seen:]; slices.ContainsFunc(answered, func(e receiver.Event) bool { return e.Status != 0 }) {
		t.Fatalf("the receiver did not hang: %+v", answered)
	}
	if taken := hooks.Taken(); len(taken) > 0 {
		t.Errorf("taken by now: %+v", taken)
	}

	// The daemon is killed in the middle of it.
	s.kill()
	s.run("", "key", "rotate", "orders")
	hooks.Answer(http.StatusOK)
	s.serve()
	want := s.want()
	hooks.Wait("everything", func([]receiver.Event) bool {
		return len(byKey(hooks.Taken())) == len(want) && steps(hooks.Taken()) >= total(want)
	})
	if got := byKey(hooks.Taken()); !equal(got, want) {
		t.Errorf("told  %v\nwant %v", got, want)
	}
	if len(want["payments"]) != 3 || len(want["orders"]) != 3 || len(want["counted"]) < 3 {
		t.Errorf("the history has %v", want)
	}

	// One id is one event, whatever became of it.
	bodies := make(map[string]string)
	for _, e := range hooks.All() {
		if before, ok := bodies[e.ID]; ok && before != e.Body {
			t.Errorf("%s is\n%s\nand was\n%s", e.ID, e.Body, before)
		}
		bodies[e.ID] = e.Body
	}
	if len(bodies) != total(want) {
		t.Errorf("%d ids for %d events", len(bodies), total(want))
	}
	var list struct {
		Targets []struct {
			Open, Behind int
			GivenUp      int `json:"given_up"`
		}
	}
	for deadline := time.Now().Add(notifyPatience); ; { // the last answer may not be booked yet
		if err := json.Unmarshal([]byte(s.run("", "notify", "list", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		if l := list.Targets; len(l) == 1 && l[0].Open == 0 && l[0].Behind == 0 && l[0].GivenUp == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after all that: %+v", list)
		}
	}
	if strings.Contains(s.logged(), "dGhpcyBpcyBubyBzZWNyZXQ") {
		t.Error("the daemon's log has the secret")
	}
}

// byKey is what was taken of each key, what came again left out.
func byKey(taken []receiver.Event) map[string][]step {
	seen := make(map[string]bool)
	got := make(map[string][]step)
	for _, e := range taken {
		if !seen[e.ID] {
			seen[e.ID] = true
			got[e.Subject] = append(got[e.Subject], step{e.Notice.Type, e.Notice.NewVersion})
		}
	}
	return got
}

func steps(taken []receiver.Event) int { return total(byKey(taken)) }

func total(of map[string][]step) int {
	n := 0
	for _, list := range of {
		n += len(list)
	}
	return n
}

func equal(a, b map[string][]step) bool {
	if len(a) != len(b) {
		return false
	}
	for key := range a {
		if !slices.Equal(a[key], b[key]) {
			return false
		}
	}
	return true
}
