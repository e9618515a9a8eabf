package hostile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// patience bounds what is waited for. Nothing that a test asserts depends on it.
const patience = 30 * time.Second

func contextForMain() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// token is a secret of the configuration.
const token = "hvs.S3cret-of-the-config"

// The keys of a scene, and the providers that wrap them.
const (
	payments = "payments" // prod draws its roots
	orders   = "orders"   // prod draws its roots, spare wraps them too
)

// scene is a folder with a config of its own, whose plugin can be made to misbehave.
type scene struct {
	t      *testing.T
	dir    string
	log    *logBuffer
	tokens map[string]string // every token that was answered, and what it hides
}

// newScene makes the folder, both keys and a first token of each.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), log: &logBuffer{}, tokens: map[string]string{}}
	for _, folder := range []string{"plugins", "journal"} {
		must(t, os.Mkdir(s.path(folder), 0o700))
	}
	must(t, os.Link(filepath.Join(built, catalog.FileName("faulty")), s.plugin()))
	lock, err := os.ReadFile(filepath.Join(built, "plugins.lock"))
	must(t, err)
	must(t, os.WriteFile(s.path("plugins.lock"), lock, 0o600))
	must(t, os.WriteFile(s.path("keyrotor.hcl"), []byte(fmt.Sprintf(`
storage "sqlite" {
  path = "keyrotor.db"
}
plugins {
  directory = "plugins"
}
provider "faulty" "prod" {
  journal = "journal"
  token   = %[1]q
}
provider "faulty" "spare" {
  journal = "journal"
  token   = %[1]q
}
`, token)), 0o600))
	kr := s.open()
	for key, with := range map[string][]string{payments: {"prod"}, orders: {"prod", "spare"}} {
		_, err := kr.CreateKey(t.Context(), key, core.KeyOptions{WrapWith: with})
		must(t, err)
		s.encrypt(kr, key)
	}
	must(t, kr.Close())
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) plugin() string { return s.path("plugins/" + catalog.FileName("faulty")) }

// open opens a host for the length of the test. Closing it sooner is fine.
func (s *scene) open() *core.Keyrotor {
	s.t.Helper()
	return s.openWith(core.Opener{CreateStore: true})
}

func (s *scene) openWith(o core.Opener) *core.Keyrotor {
	s.t.Helper()
	o.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	kr, err := o.Open(s.t.Context(), s.path("keyrotor.hcl"))
	must(s.t, err)
	s.t.Cleanup(func() {
		_ = kr.Close()
		if strings.Contains(s.log.String(), token) {
			s.t.Error("the token is in the log")
		}
	})
	return kr
}

// fault has an instance do something wrong from here on; none takes the fault away.
func (s *scene) fault(instance, fault string) {
	s.t.Helper()
	s.set(s.path("journal/"+instance+".fault"), fault)
}

// startFault has every plugin that is started from here on fail.
func (s *scene) startFault(fault string) {
	s.t.Helper()
	s.set(s.plugin()+".start", fault)
}

const none = ""

func (s *scene) set(path, fault string) {
	s.t.Helper()
	if fault == none {
		must(s.t, os.Remove(path))
		return
	}
	// At once, as the plugin may be reading it.
	must(s.t, os.WriteFile(path+".new", []byte(fault), 0o600))
	must(s.t, os.Rename(path+".new", path))
}

// calls is how often an instance saw a call, over all processes.
func (s *scene) calls(instance, call string) int {
	files, err := filepath.Glob(s.path("journal/" + instance + "." + call + ".*"))
	must(s.t, err)
	return len(files)
}

func (s *scene) encrypt(kr *core.Keyrotor, key string) {
	s.t.Helper()
	plaintext := fmt.Sprintf("secret %d of %s", len(s.tokens), key)
	text, err := kr.Encrypt(s.t.Context(), key, []byte(plaintext), nil)
	must(s.t, err)
	s.tokens[string(text)] = plaintext
}

// readable asserts that every token ever answered opens to what it hides.
func (s *scene) readable(kr *core.Keyrotor) {
	s.t.Helper()
	for text, plaintext := range s.tokens {
		got, err := kr.Decrypt(s.t.Context(), []byte(text), nil)
		if err != nil || string(got) != plaintext {
			s.t.Errorf("%s opens to %q, %v", text, got, err)
		}
	}
}

func (s *scene) primary(kr *core.Keyrotor, key string) uint32 {
	s.t.Helper()
	k, err := kr.Describe(s.t.Context(), key)
	must(s.t, err)
	must(s.t, k.Check())
	if uint32(len(k.Versions)) != k.Primary {
		s.t.Errorf("key %q has %d versions, and %d is the primary", key, len(k.Versions), k.Primary)
	}
	return k.Primary
}

// refuses rotates a key, which must fail with exactly this error and this code in the
// history, and leave the primary as it was.
func (s *scene) refuses(ctx context.Context, kr *core.Keyrotor, key, code, want string) {
	s.t.Helper()
	_ = s.refusal(ctx, kr, key, code, want)
}

// refusal is refuses for whoever looks at the error, too.
func (s *scene) refusal(ctx context.Context, kr *core.Keyrotor, key, code, want string) error {
	s.t.Helper()
	before := s.primary(kr, key)
	_, err := kr.Rotate(ctx, key, keyring.ReasonManual, "")
	if err == nil {
		s.t.Fatalf("key %q was rotated", key)
	}
	if err.Error() != want {
		s.t.Errorf("got  %s\nwant %s", err, want)
	}
	if after := s.primary(kr, key); after != before {
		s.t.Errorf("a rotation that failed took the primary of %q from %d to %d", key, before, after)
	}
	page, historyErr := kr.History(s.t.Context(), history.Query{Key: key, Limit: 1})
	must(s.t, historyErr)
	event, historyErr := history.Decode(page.Events[0])
	must(s.t, historyErr)
	if event.Type != history.RotationFailed || event.ErrorCode != code || event.PreviousVersion != before {
		s.t.Errorf("the history says %s, %q, version %d; want a failure with %q of version %d", event.Type, event.ErrorCode, event.PreviousVersion, code, before)
	}
	return err
}

// rotates rotates a key, which must work, and encrypts under its new version.
func (s *scene) rotates(kr *core.Keyrotor, key string) rotation.Result {
	s.t.Helper()
	before := s.primary(kr, key)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	result, err := kr.Rotate(ctx, key, keyring.ReasonManual, "")
	must(s.t, err)
	if after := s.primary(kr, key); result.Previous != before || result.Primary != before+1 || after != before+1 {
		s.t.Errorf("rotated %q from %d to %d, and %d is the primary; want %d", key, result.Previous, result.Primary, after, before+1)
	}
	s.encrypt(kr, key)
	return result
}

// eventually polls for what another process brings about. It may be called in any
// goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); <-time.After(2 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Errorf("did not happen in time: %s", what)
			return
		}
	}
}

// deadline is a context whose time is over when the test says so: no clock decides
// how far a call got.
type deadline struct {
	context.Context //nolint:containedctx // it is one
	over            chan struct{}
}

func newDeadline(t *testing.T) deadline { return deadline{t.Context(), make(chan struct{})} }

func (d deadline) pass() { close(d.over) }

func (d deadline) Done() <-chan struct{} { return d.over }

func (d deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// during runs f while the plugin works on a call, and then lets the deadline pass.
func (s *scene) during(d deadline, instance, call string, f func()) (wait func()) {
	before := s.calls(instance, call)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer d.pass()
		eventually(s.t, call+" under way", func() bool { return s.calls(instance, call) > before })
		f()
	})
	return wg.Wait
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// is reports whether one of the errors that tests look for is in err.
func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
