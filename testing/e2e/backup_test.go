package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/draft"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/procs"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// lossy is a configuration whose store is lost again and again.
type lossy struct {
	config string
	// folder holds the store, and backups the backups.
	folder, backups string
}

func newLossy(t *testing.T) *lossy {
	t.Helper()
	dir := t.TempDir()
	l := &lossy{folder: filepath.Join(dir, "kr"), backups: filepath.Join(dir, "backups")}
	config, err := core.Init(t.Context(), l.folder, core.InitOptions{PluginDir: pluginDir})
	if err := errors.Join(err, os.Mkdir(l.backups, 0o700)); err != nil {
		t.Fatal(err)
	}
	l.config = config
	l.with(t, func(kr *core.Keyrotor) error {
		_, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{})
		return err
	})
	return l
}

func (l *lossy) store() string { return filepath.Join(l.folder, "keyrotor.db") }

// with opens the configuration for the time of a call.
func (l *lossy) with(t *testing.T, f func(*core.Keyrotor) error) {
	t.Helper()
	kr, err := core.Open(t.Context(), l.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f(kr), kr.Close()); err != nil {
		t.Fatal(err)
	}
}

// swell makes the store some chunks large.
func (l *lossy) swell(t *testing.T) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: l.store()})
	if err != nil {
		t.Fatal(err)
	}
	large := history.Event{Type: history.ConfigChange, Actor: "test@host", Details: map[string]string{"x": strings.Repeat("x", 12<<10)}}
	if err := errors.Join(s.Append(t.Context(), nil, slices.Repeat([]history.Event{large}, 350)), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// backup makes one in this process.
func (l *lossy) backup(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(l.backups, name)
	l.with(t, func(kr *core.Keyrotor) error {
		_, err := kr.CreateBackup(t.Context(), file, core.BackupOptions{})
		return err
	})
	return file
}

func (l *lossy) verify(t *testing.T, file string) error {
	t.Helper()
	return l.fromFile(t, file, func(s *core.Setup, f *os.File) error {
		_, err := s.VerifyBackup(t.Context(), f, nil)
		return err
	})
}

func (l *lossy) restore(t *testing.T, file string) error {
	t.Helper()
	return l.fromFile(t, file, func(s *core.Setup, f *os.File) error {
		_, err := s.RestoreBackup(t.Context(), f, nil)
		return err
	})
}

func (l *lossy) fromFile(t *testing.T, file string, do func(*core.Setup, *os.File) error) error {
	t.Helper()
	setup, err := core.Opener{}.Load(t.Context(), l.config)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return errors.Join(do(setup, f), setup.Close())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// drafts asserts how many leftovers there are in a folder.
func drafts(t *testing.T, folder string, want int) {
	t.Helper()
	left, err := draft.Leftovers(folder)
	if err != nil || len(left) != want {
		t.Errorf("leftovers in %s: %q, %v; want %d", folder, left, err, want)
	}
}

// TestBackupInUse: a backup is made while two processes encrypt and rotate. After
// the store is lost, all that they encrypted under versions of the backup decrypts,
// what came later is known to be lost, and no number is used again.
func TestBackupInUse(t *testing.T) {
	l := newLossy(t)
	var tokens []string
	var workers []*procs.Child
	for range 2 {
		w := startJob(t, jobChurn, l.config)
		workers = append(workers, w)
		for range 50 {
			token, ok := w.Next()
			if !ok {
				state, stderr := w.Wait()
				t.Fatalf("the worker ended: %s\n%s", state, stderr)
			}
			tokens = append(tokens, token)
		}
	}
	// A pipe holds little, so somebody has to listen for the workers to go on.
	heard := make(chan []string, len(workers))
	for _, w := range workers {
		go func() {
			var list []string
			for token, ok := w.Next(); ok; token, ok = w.Next() {
				list = append(list, token)
			}
			heard <- list
		}()
	}
	file := l.backup(t, "in-use")
	for _, w := range workers {
		w.Stop()
	}
	for range workers {
		tokens = append(tokens, <-heard...)
	}
	for _, w := range workers {
		if state, stderr := w.Wait(); state != procs.Succeeded {
			t.Fatalf("a worker ended with %s\n%s", state, stderr)
		}
	}
	var last uint32
	l.with(t, func(kr *core.Keyrotor) error {
		for range 2 {
			r, err := kr.Rotate(t.Context(), "payments", keyring.ReasonManual, "")
			if err != nil {
				return err
			}
			token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
			if err != nil {
				return err
			}
			tokens, last = append(tokens, string(token)), r.Primary
		}
		return nil
	})
	if err := os.Remove(l.store()); err != nil {
		t.Fatal(err)
	}
	if err := l.restore(t, file); err != nil {
		t.Fatal(err)
	}

	files := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(files, []byte(strings.Join(tokens, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	l.with(t, func(kr *core.Keyrotor) error {
		waiting, err := kr.Unrecovered(t.Context())
		if err != nil || len(waiting) != 1 {
			return fmt.Errorf("to recover: %+v, %w", waiting, err)
		}
		newest := waiting[0].Newest
		if newest < 2 || newest > last-2 {
			t.Errorf("the backup ends at version %d, and the store did at %d", newest, last)
		}
		l.wantReadable(t, kr, tokens, newest)
		if _, err := kr.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, rotation.ErrRestored) {
			t.Errorf("encrypted: %v", err)
		}
		if _, err := kr.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); !errors.Is(err, rotation.ErrRestored) {
			t.Errorf("rotated: %v", err)
		}
		r, err := kr.Recover(t.Context(), core.RecoverOptions{Paths: []string{files}})
		if err != nil || len(r.Keys) != 1 || r.Keys[0].Err != nil || r.Keys[0].Result.Primary != last+1 {
			t.Errorf("recovered %+v, %v; want version %d", r.Keys, err, last+1)
		}
		token, err := kr.Encrypt(t.Context(), "payments", []byte("new"), nil)
		if want := fmt.Sprintf("keyrotor:payments:v%d:", last+1); err != nil || !strings.HasPrefix(string(token), want) {
			t.Errorf("encrypted %s, %v", token, err)
		}
		l.wantReadable(t, kr, tokens, newest)
		t.Logf("%d tokens of versions up to %d; the backup has %d", len(tokens), last, newest)
		return nil
	})
}

// wantReadable asserts that tokens of versions up to newest open, and that the others
// are unknown.
func (l *lossy) wantReadable(t *testing.T, kr *core.Keyrotor, tokens []string, newest uint32) {
	t.Helper()
	lost := 0
	for _, token := range tokens {
		parsed, err := keyring.ParseToken([]byte(token))
		if err != nil {
			t.Fatal(err)
		}
		plaintext, err := kr.Decrypt(t.Context(), []byte(token), nil)
		switch {
		case parsed.Version <= newest && (err != nil || string(plaintext) != "s3cret"):
			t.Errorf("version %d: %q, %v", parsed.Version, plaintext, err)
		case parsed.Version > newest && !errors.Is(err, keyring.ErrUnknownVersion):
			t.Errorf("lost version %d: %q, %v", parsed.Version, plaintext, err)
		case parsed.Version > newest:
			lost++
		}
	}
	if lost < 2 {
		t.Errorf("%d tokens of lost versions; the test shows nothing", lost)
	}
}

// atDraft is the moment when a draft is there, and nothing in it yet, or little.
const atDraft = "draft"

// moments are when the processes of the kill tests die: when they have begun a draft,
// at a part of the copy in percent, or some time after they begin to copy.
func moments() []string {
	const seed = 20261123
	random := rand.New(rand.NewPCG(seed, 0))
	list := tier.Pick([]string{atDraft, "1", "99"}, []string{atDraft, "0", "1", "50", "99", "100"})
	for range tier.Pick(1, 4) {
		list = append(list, (time.Duration(random.IntN(60_000)) * time.Microsecond).String())
	}
	return list
}

func isPercent(moment string) bool {
	_, err := strconv.Atoi(moment)
	return err == nil
}

// killedJob runs a job and kills it at a moment. It answers whether that came in time.
func (l *lossy) killedJob(t *testing.T, job, file, moment string) bool {
	t.Helper()
	env := []string{backupFileVariable + "=" + file}
	if isPercent(moment) {
		env = append(env, killPercentVariable+"="+moment) // it kills itself
	}
	c := startJob(t, job, l.config, env...)
	if after, err := time.ParseDuration(moment); err == nil && len(env) == 1 {
		if _, ok := c.Next(); !ok {
			state, stderr := c.Wait()
			t.Fatalf("%s ended before it began: %s\n%s", job, state, stderr)
		}
		<-time.After(after)
		c.Kill()
	}
	ended := make(chan string, 1)
	go func() {
		state, _ := c.Wait()
		ended <- state
	}()
	if moment == atDraft {
		l.killAtDraft(t, c, ended)
	}
	state := <-ended
	if state != procs.Killed && (state != procs.Succeeded || len(env) > 1) {
		t.Fatalf("%s, to be killed at %s: %s\n%s", job, moment, state, c.Stderr())
	}
	return state == procs.Killed
}

// killAtDraft polls until a draft is beside the store, unless the process was so
// fast that it has ended by then.
func (l *lossy) killAtDraft(t *testing.T, c *procs.Child, ended chan string) {
	t.Helper()
	for len(ended) == 0 {
		found, err := filepath.Glob(filepath.Join(l.folder, ".keyrotor-draft-*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			c.Kill()
			return
		}
	}
}

// TestCreateKilled: a backup is whole or not there, whenever its process dies, and
// what is left goes with the next one.
func TestCreateKilled(t *testing.T) {
	l := newLossy(t)
	l.swell(t)
	killed, absent, list := 0, 0, moments()
	for i, moment := range list {
		file := filepath.Join(l.backups, strconv.Itoa(i))
		if l.killedJob(t, jobCreate, file, moment) {
			killed++
		}
		if !exists(file) {
			absent++
			if isPercent(moment) { // at the very first there may be no more than an empty folder
				drafts(t, l.folder, 1)
				drafts(t, l.backups, 1)
			}
		} else if err := l.verify(t, file); err != nil {
			t.Errorf("killed at %s: %v", moment, err)
		}
		next := l.backup(t, "next-"+strconv.Itoa(i))
		drafts(t, l.folder, 0)
		drafts(t, l.backups, 0)
		if err := errors.Join(l.verify(t, next), os.Remove(next)); err != nil {
			t.Errorf("after a kill at %s: %v", moment, err)
		}
	}
	if killed < len(list)/2 || absent < len(list)/2 {
		t.Errorf("%d kills came in time, %d of them before the end", killed, absent)
	}
	orphans(t, time.Now())
}

// TestRestoreKilled: a store is whole or not there, whenever the process that
// restores it dies, and the next one restores it.
func TestRestoreKilled(t *testing.T) {
	l := newLossy(t)
	l.swell(t)
	file := l.backup(t, "backup")
	killed, absent, list := 0, 0, moments()
	for _, moment := range list {
		if err := os.Remove(l.store()); err != nil {
			t.Fatal(err)
		}
		if l.killedJob(t, jobRestore, file, moment) {
			killed++
		}
		if !exists(l.store()) {
			absent++
			if isPercent(moment) {
				drafts(t, l.folder, 1)
			}
			if err := l.restore(t, file); err != nil {
				t.Fatalf("after a kill at %s: %v", moment, err)
			}
			drafts(t, l.folder, 0)
		}
		l.with(t, func(kr *core.Keyrotor) error {
			waiting, err := kr.Unrecovered(t.Context())
			if err != nil || len(waiting) != 1 {
				t.Errorf("killed at %s: to recover are %+v, %v", moment, waiting, err)
			}
			return nil
		})
		for _, suffix := range []string{"-wal", "-shm", "-journal"} {
			if exists(l.store() + suffix) {
				t.Errorf("killed at %s: %s is left", moment, suffix)
			}
		}
	}
	if killed < len(list)/2 || absent < len(list)/2 {
		t.Errorf("%d kills came in time, %d of them before the end", killed, absent)
	}
	orphans(t, time.Now())
}

// TestBackupDiskFull: no room at any of the places where something is written is one
// error, and leaves nothing.
func TestBackupDiskFull(t *testing.T) {
	l := newLossy(t)
	l.swell(t)
	file := l.backup(t, "good")
	var size uint64
	if err := l.fromFile(t, file, func(s *core.Setup, f *os.File) error {
		h, err := s.VerifyBackup(t.Context(), f, nil)
		size = h.Size
		return err
	}); err != nil {
		t.Fatal(err)
	}
	full := func(job, file string, limit uint64, want string) {
		t.Helper()
		c := startJob(t, job, l.config, backupFileVariable+"="+file, fileLimitVariable+"="+strconv.FormatUint(limit, 10))
		state, stderr := c.Wait()
		if state != procs.Failed || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s with %d bytes of room: %s\n%swant %q", job, limit, state, stderr, want)
		}
		drafts(t, l.folder, 0)
		drafts(t, l.backups, 0)
	}

	bad := filepath.Join(l.backups, "bad")
	full(jobCreate, bad, size/2, "copy: ")
	full(jobCreate, bad, size+100, "no room left: ")
	if exists(bad) {
		t.Error("a backup is there that was not completed")
	}
	if err := errors.Join(l.verify(t, l.backup(t, "after")), os.Remove(l.store())); err != nil {
		t.Fatal(err)
	}
	full(jobRestore, file, size/2, "no room left: ")
	full(jobRestore, file, size-1, "no room left: ")
	full(jobRestore, file, size, "is not complete: what is in keyrotor.db-shm and keyrotor.db-wal could not be moved into it")
	if exists(l.store()) {
		t.Error("a store is there that was not completed")
	}
	if err := l.restore(t, file); err != nil {
		t.Errorf("with room again: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l.with(t, func(kr *core.Keyrotor) error {
		_, err := kr.Recover(ctx, core.RecoverOptions{})
		return err
	})
}
