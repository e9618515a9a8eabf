package disk

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// limitedVariable makes TestFullChild the process whose files may not grow.
const limitedVariable = "KEYROTOR_TEST_FILE_LIMIT"

// TestFull runs the child, since a limit on the size of files is the whole process's.
func TestFull(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullChild$", "-test.v")
	cmd.Env = append(os.Environ(), limitedVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, figures, ok := strings.Cut(line, "figures: "); ok {
			t.Log(strings.TrimSpace(figures))
		}
	}
}

// limit bounds the size of every file of this process. Beyond it a write fails with
// EFBIG: Go ignores the signal.
func limit(t *testing.T, size uint64) {
	t.Helper()
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}); err != nil {
		t.Fatal(err)
	}
}

func unlimit(t *testing.T) { limit(t, unix.RLIM_INFINITY) }

// What SQLite's write-ahead log consists of.
const (
	logHeader   = 32
	frameHeader = 24
	pageSize    = 4096
)

// An operation writes at least so many frames, and at most.
const minFrames, maxFrames = 4, 60

// boundaries are limits at which the first write of the log fails, then the second
// and so on, whole or in the middle.
func boundaries(frames int) []uint64 {
	limits := []uint64{0, logHeader - 1}
	for i := range frames {
		start := uint64(logHeader + i*(frameHeader+pageSize))
		limits = append(limits, start, start+frameHeader, start+frameHeader+pageSize-1)
	}
	return limits
}

func TestFullChild(t *testing.T) {
	if os.Getenv(limitedVariable) == "" {
		return // this is not the child
	}
	s := &scene{vault: newVault(t), tokens: map[string]string{}}
	if err := s.createKey(t.Context(), "payments"); err != nil {
		t.Fatal(err)
	}
	s.encryptAs(t, "payments", "at first")
	for _, op := range []operation{
		{"rotate", func(ctx context.Context) error { return s.rotate(ctx, "payments") }},
		{"encrypt", func(ctx context.Context) error { return s.tryEncrypt(ctx, "payments") }},
		{"create", func(ctx context.Context) error { return s.createKey(ctx, fmt.Sprintf("key-%d", s.attempts)) }},
	} {
		s.warm(t, op)
		s.cold(t, op)
	}
	s.fresh(t)
}

// operation is something that writes to the store, having opened it anew.
type operation struct {
	name string
	run  func(context.Context) error
}

// scene is a store under limits, and every token that was ever answered.
type scene struct {
	vault
	tokens   map[string]string
	attempts int
}

func (s *scene) tryEncrypt(ctx context.Context, key string) error {
	value := fmt.Sprintf("value %d", s.attempts)
	token, err := s.encrypt(ctx, key, value)
	if token != "" { // answered, though its lease may not go back
		s.tokens[token] = value
	}
	return err
}

func (s *scene) encryptAs(t *testing.T, key, value string) {
	t.Helper()
	token, err := s.encrypt(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	s.tokens[token] = value
}

// warm fails each write to the log in turn while another process has the store open,
// whose shared memory is there already.
func (s *scene) warm(t *testing.T, op operation) {
	t.Helper()
	neighbour, err := sql.Open("sqlite", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer neighbour.Close()
	limits, refused := boundaries(maxFrames), 0
	for i, size := range limits {
		var busy, frames, done int
		err := neighbour.QueryRowContext(t.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &done)
		if err != nil || busy != 0 {
			t.Fatalf("the log is not emptied: %d, %v", busy, err)
		}
		if !s.attempt(t, op, size) {
			t.Logf("figures: %s while the store is open elsewhere: refused at all %d limits on the log up to %d bytes", op.name, refused, size)
			if refused < i || i < len(boundaries(minFrames)) {
				t.Errorf("%s was refused at %d of the first %d limits", op.name, refused, i)
			}
			return
		}
		refused++
	}
	t.Errorf("%s is refused even at %d bytes", op.name, limits[len(limits)-1])
}

// cold goes through the sizes of the files of a store that nobody else has open: the
// memory that processes share, the log, and the database itself, which the last one
// to close it writes.
func (s *scene) cold(t *testing.T, op operation) {
	t.Helper()
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	refused, limits := 0, 0
	for size := uint64(0); size <= uint64(info.Size())+4*pageSize; size += 5 * pageSize {
		limits++
		if s.attempt(t, op, size) {
			refused++
		}
	}
	t.Logf("figures: %s alone: refused at %d of %d limits up to the database's size", op.name, refused, limits)
	if refused == 0 || refused == limits {
		t.Errorf("%s was refused at %d of %d limits", op.name, refused, limits)
	}
}

// attempt runs an operation under a limit and looks at what is left of the store. It
// reports whether the limit stopped the operation.
func (s *scene) attempt(t *testing.T, op operation, size uint64) (refused bool) {
	t.Helper()
	s.attempts++
	limit(t, size)
	err := op.run(t.Context())
	unlimit(t)
	if err != nil {
		mustSayFull(t, fmt.Sprintf("%s with %d bytes", op.name, size), err)
	}
	s.check(t, fmt.Sprintf("%s with %d bytes", op.name, size))
	if err == nil {
		return false
	}
	s.attempts++
	if err := op.run(t.Context()); err != nil {
		t.Fatalf("%s with %d bytes, and with room again: %v", op.name, size, err)
	}
	return true
}

// mustSayFull wants one error, which says what is the matter and what to do.
func mustSayFull(t *testing.T, what string, err error) {
	t.Helper()
	text := err.Error()
	if !errors.Is(err, store.ErrFull) || strings.Count(text, store.ErrFull.Error()) != 1 || !strings.Contains(text, "file too large") ||
		!strings.HasSuffix(text, "nothing was changed; free space on its file system, or lift the quota or limit that stops it") {
		t.Fatalf("%s: %v, want ErrFull", what, err)
	}
}

// check opens the store as the next process does.
func (s *scene) check(t *testing.T, what string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: s.path})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}()
	if err := storetest.CheckLog(t.Context(), db); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	names, err := db.Names(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, name := range names {
		key, err := db.Key(t.Context(), name)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := errors.Join(key.Verify(db.ID(), key.LastDigest), key.Check()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	// The process of a claim that could not be given up is over, which another one
	// sees; in this test it is still there.
	intents, err := db.Intents(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, in := range intents {
		if err := db.End(t.Context(), in); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	s.open(t, what)
}

// open decrypts everything.
func (s *scene) open(t *testing.T, what string) {
	t.Helper()
	err := s.with(t.Context(), func(e *engine.Engine) error {
		for token, value := range s.tokens {
			if got, err := e.Decrypt(t.Context(), []byte(token), nil); err != nil || string(got) != value {
				t.Fatalf("%s: %s opens to %q, %v; want %q", what, token, got, err, value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// fresh makes stores: there is a whole one afterwards, or nothing at all.
func (s *scene) fresh(t *testing.T) {
	t.Helper()
	made, refused := 0, 0
	for size := uint64(0); made < 3; size += pageSize {
		v := s.at(filepath.Join(folder(t), "keyrotor.db"))
		limit(t, size)
		db, err := sqlite.Open(t.Context(), sqlite.Config{Path: v.path})
		unlimit(t)
		if err == nil {
			made++
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		} else {
			refused++
			mustSayFull(t, fmt.Sprintf("a new store with %d bytes", size), err)
			if files, err := os.ReadDir(filepath.Dir(v.path)); err != nil || len(files) != 0 {
				t.Fatalf("a new store with %d bytes leaves %v, %v", size, files, err)
			}
		}
		if err := v.createKey(t.Context(), "payments"); err != nil {
			t.Fatalf("a new store with %d bytes, and with room again: %v", size, err)
		}
	}
	t.Logf("figures: a new store: refused at %d limits", refused)
	if refused < 10 {
		t.Errorf("only %d limits refused a new store", refused)
	}
}
