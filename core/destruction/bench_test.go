package destruction_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// bench is a store whose clock the test sets, an engine on it, and registered data
// in a folder.
type bench struct {
	*testing.T
	path, data string
	clock      *clock
	km         *faults.KeyManager
	store      *sqlite.Store
	engine     *engine.Engine
	destroyer  *destruction.Destroyer
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newBench has a key "payments" at version 2, and a file with a token of it.
func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{
		T: t, path: filepath.Join(dir, "k.db"), data: filepath.Join(dir, "data"),
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)}, km: faults.NewLocal(t),
	}
	var err error
	b.store, err = sqlite.Open(t.Context(), sqlite.Config{Path: b.path, Now: b.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	b.engine = b.newEngine()
	b.destroyer = b.newDestroyer(b.engine, b.data)
	if err := os.Mkdir(b.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := b.engine.CreateKey(t.Context(), "payments", keyring.Settings{WrapWith: []string{"p"}}, ""); err != nil {
		t.Fatal(err)
	}
	b.rotate()
	b.write("a.env", "A="+b.encrypt()+"\n")
	return b
}

func (b *bench) newEngine() *engine.Engine {
	b.Helper()
	e, err := engine.New(engine.Config{
		Store: b.store, Actor: "alice@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return b.km, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close(context.Background()) })
	return e
}

func (b *bench) newDestroyer(keys reencrypt.Keys, paths ...string) *destruction.Destroyer {
	b.Helper()
	d, err := destruction.New(destruction.Config{
		Store: b.store, Keys: keys, Paths: paths, Actor: "bob@host", Changed: b.engine.Changed,
	})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func (b *bench) rotate() {
	b.Helper()
	if _, err := b.engine.Rotate(b.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) encrypt() string {
	b.Helper()
	token, err := b.engine.Encrypt(b.Context(), "payments", []byte("s3cret"), nil)
	if err != nil {
		b.Fatal(err)
	}
	return string(token)
}

func (b *bench) write(name, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.data, name), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(b.data, name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

func (b *bench) reencrypt() {
	b.Helper()
	report, err := (&reencrypt.Job{Keys: b.engine}).Run(b.Context(), []string{b.data})
	if err != nil || len(report.Failed) > 0 {
		b.Fatalf("%+v, %v", report, err)
	}
}

// version reads a version from the store.
func (b *bench) version(number uint32) keyring.Version {
	b.Helper()
	key, err := b.store.Key(b.Context(), "payments")
	if err != nil {
		b.Fatal(err)
	}
	v, ok := key.Version(number)
	if !ok {
		b.Fatalf("there is no version %d", number)
	}
	if err := key.Verify(b.store.ID(), key.LastDigest); err != nil {
		b.Error(err)
	}
	return *v
}

// event answers the newest event.
func (b *bench) event() history.Event {
	b.Helper()
	page, err := b.store.Events(b.Context(), history.Query{Limit: 1})
	if err != nil {
		b.Fatal(err)
	}
	e, err := history.Decode(page.Events[0])
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func (b *bench) schedule(version uint32, period time.Duration) destruction.Scheduled {
	b.Helper()
	s, err := b.destroyer.Schedule(b.Context(), "payments", version, period, "old and done")
	if err != nil {
		b.Fatal(err)
	}
	return s
}
