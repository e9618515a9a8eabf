package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// moveScene is a configuration with two providers, "local" and "second", and the keys
// "payments" with three versions and "orders" with one, wrapped by "local".
type moveScene struct {
	config string
	tokens map[string]string // token → plaintext
}

// moveLimit bounds one run of a worker on a machine that is slow.
const moveLimit = time.Minute

func newMoveScene(t *testing.T) *moveScene {
	t.Helper()
	config, err := core.Init(t.Context(), filepath.Join(t.TempDir(), "kr"), core.InitOptions{PluginDir: pluginDir})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "\nprovider \"local\" \"second\" {\n  path = \"second.kek\"\n}\n"...)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &moveScene{config: config, tokens: make(map[string]string)}
	s.open(t, func(kr *core.Keyrotor) {
		_, err := kr.CreateKEK(t.Context(), "second")
		for _, name := range []string{"payments", "orders"} {
			if err == nil {
				_, err = kr.CreateKey(t.Context(), name, core.KeyOptions{WrapWith: []string{"local"}})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		s.encrypt(t, kr, "orders")
		for range 3 {
			if len(s.tokens) > 1 {
				s.rotate(t, kr)
			}
			s.encrypt(t, kr, "payments")
		}
	})
	return s
}

func (s *moveScene) encrypt(t *testing.T, kr *core.Keyrotor, key string) {
	t.Helper()
	plaintext := fmt.Sprintf("value %d", len(s.tokens))
	token, err := kr.Encrypt(t.Context(), key, []byte(plaintext), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.tokens[string(token)] = plaintext
}

func (s *moveScene) rotate(t *testing.T, kr *core.Keyrotor) {
	t.Helper()
	if _, err := kr.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
}

func (s *moveScene) open(t *testing.T, f func(*core.Keyrotor)) {
	t.Helper()
	kr, err := core.Open(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	}()
	f(kr)
}

// readable asserts that each token opens, in a process that never opened one.
func (s *moveScene) readable(ctx context.Context, t *testing.T) {
	t.Helper()
	kr, err := core.Open(ctx, s.config)
	if err != nil {
		t.Error(err)
		return
	}
	for token, plaintext := range s.tokens {
		if got, err := kr.Decrypt(ctx, []byte(token), nil); err != nil || string(got) != plaintext {
			t.Errorf("%s opens to %q, %v", token, got, err)
		}
	}
	if err := kr.Close(); err != nil {
		t.Error(err)
	}
}

// mover is a worker that was started.
type mover struct {
	*procs.Child
	// said are the lines that were read.
	said []string
}

// start runs a job in a process of its own; killAt and gate may be empty.
func (s *moveScene) start(t *testing.T, job, killAt, gate string) *mover {
	t.Helper()
	m := &mover{Child: procs.Start(t, nil, moveVariable+"="+job, moveConfigVariable+"="+s.config,
		moveKillVariable+"="+killAt, moveGateVariable+"="+gate)}
	time.AfterFunc(moveLimit, m.Kill)
	return m
}

// next reads one line; empty at the end.
func (m *mover) next() string {
	line, ok := m.Next()
	if ok {
		m.said = append(m.said, line)
	}
	return line
}

// end reads to the end and answers the last line; killed, whether SIGKILL was what
// ended it.
func (m *mover) end(t *testing.T) (last string, killed bool) {
	t.Helper()
	for m.next() != "" {
	}
	state, stderr := m.Wait()
	if killed = state == procs.Killed; !killed && state != procs.Succeeded {
		t.Fatalf("the worker failed: %s\n%s", state, stderr)
	}
	if len(m.said) == 0 {
		return "", killed
	}
	return m.said[len(m.said)-1], killed
}

// do runs a job to its end.
func (s *moveScene) do(t *testing.T, job string) (last string) {
	t.Helper()
	last, killed := s.start(t, job, "", "").end(t)
	if killed {
		t.Fatalf("%s did not end within %s", job, moveLimit)
	}
	return last
}

// doKilled runs a job that dies at a step.
func (s *moveScene) doKilled(t *testing.T, job, step string) {
	t.Helper()
	if last, killed := s.start(t, job, step, "").end(t); !killed || last != "step "+step {
		t.Fatalf("%s was to be killed at %s; killed %v at %q", job, step, killed, last)
	}
	s.readable(t.Context(), t)
}

// settled asserts what holds once a job is done: all tokens open, each wrap opens to
// its version, the records are what the history says, nothing is claimed.
func (s *moveScene) settled(t *testing.T) {
	t.Helper()
	s.readable(t.Context(), t)
	if left := s.claims(t); len(left) != 0 {
		t.Errorf("claims left: %+v", left)
	}
	db := s.db(t)
	s.open(t, func(kr *core.Keyrotor) {
		for _, name := range []string{"payments", "orders"} {
			key, err := db.Key(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(key.Check(), key.Verify(db.ID(), key.LastDigest)); err != nil {
				t.Error(err)
			}
			for _, v := range key.Versions {
				for _, w := range v.Wraps {
					p, err := kr.Catalog.Provider(w.Provider)
					if err != nil {
						t.Fatal(err)
					}
					b := keyring.Binding{Store: db.ID(), Key: key.ID, Version: v.Number, Algorithm: v.Algorithm}
					root, err := wrapping.Open(t.Context(), p, b, w, v.KCV)
					if err != nil {
						t.Errorf("%s %s: %v", name, v.Label, err)
					}
					root.Wipe()
				}
			}
		}
	})
}

// db opens the store beside whoever uses it.
func (s *moveScene) db(t *testing.T) *sqlite.Store {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(filepath.Dir(s.config), "keyrotor.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (s *moveScene) claims(t *testing.T) []store.Intent {
	t.Helper()
	in, err := s.db(t).Intents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// wrappers answers who wraps each version of "payments".
func (s *moveScene) wrappers(t *testing.T) (wrappers []string) {
	t.Helper()
	s.open(t, func(kr *core.Keyrotor) {
		key, err := kr.Describe(t.Context(), "payments")
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range key.Versions {
			var names []string
			for _, w := range v.Wraps {
				names = append(names, w.Provider)
			}
			wrappers = append(wrappers, strings.Join(names, "+"))
		}
		wrappers = append(wrappers, strings.Join(key.Settings.WrapWith, "+"))
	})
	return wrappers
}

// kekIs asserts how often the KEK of "local" was rotated, all of it by us, and that
// everything stands under the newest version.
func (s *moveScene) kekIs(t *testing.T, rotations, wraps int) {
	t.Helper()
	s.open(t, func(kr *core.Keyrotor) {
		kek, err := kr.DescribeKEK(t.Context(), "local")
		if err != nil {
			t.Fatal(err)
		}
		newest := kek.Versions[len(kek.Versions)-1]
		if len(kek.Versions) != rotations+1 || !newest.Primary || newest.Wraps != wraps || kek.RotatedExternally || kek.Elsewhere != 0 {
			t.Errorf("after %d rotations: %+v", rotations, kek)
		}
		if ours, theirs := s.count(t, kr, history.KEKRotated), s.count(t, kr, history.KEKRotatedExternally); ours != rotations || theirs != 0 {
			t.Errorf("the history holds %d rotations of ours and %d of others, want %d", ours, theirs, rotations)
		}
	})
}

func (s *moveScene) count(t *testing.T, kr *core.Keyrotor, typ history.Type) int {
	t.Helper()
	page, err := kr.History(t.Context(), history.Query{Type: typ, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Events)
}

func sameWrappers(t *testing.T, got []string, want string) {
	t.Helper()
	if slices.ContainsFunc(got, func(w string) bool { return w != want }) {
		t.Errorf("wrapped by %q, want %q throughout", got, want)
	}
}
