package notify_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/bubble"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// TestMain: the model takes long where the disk is slow. Without flags it runs fewer times
// than rapid would.
func TestMain(m *testing.M) {
	bubble.Prepare()
	if err := flag.Set("rapid.checks", tier.Pick("8", "25")); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// bench is one store, to which keys are added and on which things happen.
type bench struct {
	failer
	path   string
	now    func() time.Time
	store  *sqlite.Store
	stores []*sqlite.Store
	// happened lists the operations of what was committed, by key.
	happened map[string][]string
	count    int
}

func newBench(t failer, folder string, now func() time.Time) *bench {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	b := &bench{failer: t, path: filepath.Join(folder, "k.db"), now: now, happened: make(map[string][]string)}
	b.store = b.open()
	return b
}

// inBubble is a bench whose clock is that of a bubble.
func inBubble(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, t.TempDir(), nil)
	t.Cleanup(b.close)
	return b
}

// open is what another process has of the store.
func (b *bench) open() *sqlite.Store {
	b.Helper()
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: b.path, Now: b.now})
	if err != nil {
		b.Fatal(err)
	}
	b.stores = append(b.stores, s)
	return s
}

func (b *bench) close() {
	for _, s := range b.stores {
		if err := s.Close(); err != nil {
			b.Errorf("close: %v", err)
		}
	}
}

// happen commits something that is told, and remembers it.
func (b *bench) happen(key string) string {
	b.Helper()
	b.count++
	operation := fmt.Sprintf("op-%d", b.count)
	b.commit(key, history.Event{Type: history.RotationFailed, Operation: operation, Actor: "alice@host", ErrorCode: "unavailable"})
	b.happened[key] = append(b.happened[key], operation)
	return operation
}

// commit adds events of a key, or of none.
func (b *bench) commit(key string, events ...history.Event) {
	b.Helper()
	if key == "" {
		if err := b.store.Append(context.Background(), nil, events); err != nil {
			b.Fatal(err)
		}
		return
	}
	_, err := b.store.Key(context.Background(), key)
	_, err = b.store.Update(context.Background(), store.Update{
		Name: key, Create: errors.Is(err, keyring.ErrUnknownKey),
		Apply: func(r *keyring.Record) ([]history.Event, error) {
			if r.Name == "" {
				id := tlog.RecordHash([]byte(key))
				*r = keyring.Record{
					ID: keyring.KeyID(id[:16]), Name: key, Created: time.Now(),
					Settings: keyring.Settings{Algorithm: keyring.AES256GCM, HardLimit: 1000, WrapWith: []string{"local"}},
				}
			}
			return events, nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// notifier is one process with a store of its own and one target.
func (b *bench) notifier(owner string, s store.Outbox, targets ...notify.Target) *notify.Notifier {
	b.Helper()
	if s == nil {
		s = b.open()
	}
	return b.configured(notify.Config{Store: s, Owner: owner, Targets: targets})
}

func (b *bench) configured(c notify.Config) *notify.Notifier {
	b.Helper()
	c.StoreID = b.store.ID()
	n, err := notify.New(c)
	if err != nil {
		b.Fatal(err)
	}
	if err := n.Subscribe(context.Background()); err != nil {
		b.Fatal(err)
	}
	return n
}

// receiver is a sender that writes down what it is sent.
type receiver struct {
	mu sync.Mutex
	// answer says what comes of a message; nil is delivered.
	answer func(ctx context.Context, m notify.Message) error
	got    []notify.Message
	tried  []time.Time
}

func (r *receiver) Send(ctx context.Context, m notify.Message) error {
	r.mu.Lock()
	answer := r.answer
	r.tried = append(r.tried, time.Now())
	r.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, m); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, m)
	return nil
}

// answers has the receiver answer otherwise from now on.
func (r *receiver) answers(with func(context.Context, notify.Message) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = with
}

func (r *receiver) tries() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tried)
}

// operations are what was received, by key, without repeats; repeats counts those. A
// repeat that is not what came first is an error.
func (r *receiver) operations(t failer) (operations map[string][]string, repeats int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	operations = make(map[string][]string)
	seen := make(map[string]string)
	for _, m := range r.got {
		if first, ok := seen[m.ID]; ok {
			if repeats++; first != string(m.Body) {
				t.Errorf("message %s came again with another body:\n%s\n%s", m.ID, first, m.Body)
			}
			continue
		}
		seen[m.ID] = string(m.Body)
		operations[m.Notice.Key] = append(operations[m.Notice.Key], m.Notice.Operation)
	}
	return operations, repeats
}

// wantAll checks that everything that happened was received, in order per key.
func (b *bench) wantAll(r *receiver) (repeats int) {
	b.Helper()
	got, repeats := r.operations(b)
	for key, want := range b.happened {
		if !slices.Equal(got[key], want) {
			b.Errorf("of key %s came %q, want %q", key, got[key], want)
		}
	}
	for key := range got {
		if len(b.happened[key]) == 0 {
			b.Errorf("of key %s, of which nothing happened, came %q", key, got[key])
		}
	}
	return repeats
}

// start runs a notifier until the test ends.
func start(t *testing.T, n *notify.Notifier) {
	t.Helper()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, n) })
}

func stop(t *testing.T, n *notify.Notifier) {
	t.Helper()
	if err := n.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// status is that of the only target.
func status(t failer, n *notify.Notifier) notify.Status {
	t.Helper()
	list, err := n.Status(context.Background())
	if err != nil || len(list) != 1 {
		t.Fatalf("status %+v, %v", list, err)
	}
	return list[0]
}
