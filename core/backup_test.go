package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/backup"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// TestBackupRestoreRecover is the whole way: what was encrypted before the backup
// decrypts, what came after is known to be lost, and no number is used again.
func TestBackupRestoreRecover(t *testing.T) {
	s, kr := newShop(t)
	var done, total uint64
	calls := 0
	path, h := s.backup(t, kr, core.BackupOptions{Writer: "test 1", Progress: func(d, all uint64) { calls, done, total = calls+1, d, all }})
	if done != h.Size || total != h.Size || calls < 3 {
		t.Errorf("progress ends at %d of %d after %d calls; the copy has %d bytes", done, total, calls, h.Size)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 || names(t, filepath.Dir(path)) != "shop.backup" {
		t.Errorf("%v, %v beside %s", info.Mode(), err, names(t, filepath.Dir(path)))
	}
	if got := names(t, s.dir); strings.Contains(got, "draft") {
		t.Errorf("a plain copy is left: %s", got)
	}
	s.rotate(t, kr, 2)
	s.lose(t, kr)
	if _, err := core.Open(t.Context(), s.config); !errors.Is(err, core.ErrNoStore) || !strings.Contains(err.Error(), "`keyrotor backup restore FILE` brings it back") {
		t.Errorf("without its store: %v", err)
	}

	restored, err := s.restore(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(restored.Header) != fmt.Sprint(h) || fmt.Sprint(restored.Keys) != "[{orders 1} {payments 3}]" {
		t.Errorf("restored %+v of %+v", restored.Keys, restored.Header)
	}
	if got := names(t, s.dir); strings.Contains(got, "draft") || strings.Contains(got, "-wal") {
		t.Errorf("left behind: %s", got)
	}

	kr = open(t, s.config)
	s.decrypts(t, kr, 3)
	if _, err := kr.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, rotation.ErrRestored) {
		t.Errorf("encrypted: %v", err)
	}
	page, err := kr.History(t.Context(), history.Query{Type: history.Restored})
	if err != nil || len(page.Events) != 3 {
		t.Fatalf("%d events, %v", len(page.Events), err)
	}
	for _, want := range []string{`"operation_id":"` + restored.Operation, `"actor":"restorer@host"`, `"backup":"` + h.ID.String()} {
		if !strings.Contains(string(page.Events[0]), want) {
			t.Errorf("the event %s lacks %s", page.Events[0], want)
		}
	}

	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, ".env"), []byte("A="+s.tokens[4]+"\nB="+s.tokens[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := kr.Recover(t.Context(), core.RecoverOptions{Paths: []string{files}})
	if err != nil || len(r.Keys) != 2 || r.Read.Tokens != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	orders, payments := r.Keys[0], r.Keys[1]
	if orders.Err != nil || orders.Key != "orders" || orders.Newest != 1 || orders.Seen != 1 || orders.Result.Primary != 2 || orders.Where.File != "" {
		t.Errorf("orders: %+v", orders)
	}
	if payments.Err != nil || payments.Newest != 3 || payments.Seen != 5 || payments.Result.Primary != 6 || payments.Where.File != filepath.Join(files, ".env") || payments.Where.Line != 1 {
		t.Errorf("payments: %+v", payments)
	}
	s.decrypts(t, kr, 3)
	token, err := kr.Encrypt(t.Context(), "payments", []byte("new"), nil)
	if err != nil || !strings.HasPrefix(string(token), "keyrotor:payments:v6:") {
		t.Errorf("encrypted %s, %v", token, err)
	}
	if again, err := kr.Recover(t.Context(), core.RecoverOptions{Paths: []string{files}}); err != nil || len(again.Keys) != 0 {
		t.Errorf("a second time: %+v, %v", again, err)
	}
}

// TestBackupIsSealed: whoever has the file alone learns neither names nor secrets, and
// without the key manager nobody opens it.
func TestBackupIsSealed(t *testing.T) {
	t.Setenv(core.PassphraseVariable, "correct horse")
	s, kr := newShopWith(t, core.InitOptions{Seal: true})
	path, _ := s.backup(t, kr, core.BackupOptions{})
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kek, err := os.ReadFile(filepath.Join(s.dir, "keyrotor.kek"))
	if err != nil {
		t.Fatal(err)
	}
	for what, plain := range map[string][]byte{"a key's name": []byte("payments"), "another": []byte("orders"), "SQLite": []byte("SQLite format"), "a table": []byte("log_hashes"), "the passphrase": []byte("horse"), "a plaintext": []byte("s3cret")} {
		if bytes.Contains(file, plain) {
			t.Errorf("%s is in the backup", what)
		}
	}
	for field := range strings.FieldsSeq(strings.NewReplacer(`"`, " ", ",", " ").Replace(string(kek))) {
		if len(field) > 40 && bytes.Contains(file, []byte(field)) {
			t.Errorf("a part of the KEK file is in the backup")
		}
	}
	if err := os.Remove(filepath.Join(s.dir, "keyrotor.kek")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.setup(t).VerifyBackup(t.Context(), bytes.NewReader(file), nil); err == nil {
		t.Error("verified without the key manager")
	}
}

// TestBackupWrapWith: a second key manager opens what the first one cannot any more.
func TestBackupWrapWith(t *testing.T) {
	s, kr := newShop(t)
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, s.config, "provider \"local\" \"second\" {\n  path = \"second.kek\"\n}\n")
	kr = s.open(t)
	if _, err := kr.CreateKEK(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	both, h := s.backup(t, kr, core.BackupOptions{})
	if len(h.Wraps) != 2 || h.Wraps[0].Provider != "local" || h.Wraps[1].Provider != "second" {
		t.Errorf("wrapped by %+v", h.Wraps)
	}
	_, h = s.backup(t, kr, core.BackupOptions{WrapWith: []string{"second"}})
	if len(h.Wraps) != 1 || h.Wraps[0].Provider != "second" {
		t.Errorf("wrapped by %+v", h.Wraps)
	}
	for want, with := range map[string][]string{
		`provider "local" is named twice`: {"local", "local"},
		`no provider "third"`:             {"third"},
	} {
		path := filepath.Join(t.TempDir(), "b")
		if _, err := kr.CreateBackup(t.Context(), path, core.BackupOptions{WrapWith: with}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: %v", with, err)
		}
		if got := names(t, filepath.Dir(path)); got != "" {
			t.Errorf("left behind: %s", got)
		}
	}
	s.lose(t, kr)
	if err := os.Remove(filepath.Join(s.dir, "keyrotor.kek")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.restore(t, both); err != nil {
		t.Errorf("with the second key manager alone: %v", err)
	}
}

// TestBackupReplacesNothing: neither a backup nor a store.
func TestBackupReplacesNothing(t *testing.T) {
	s, kr := newShop(t)
	path, h := s.backup(t, kr, core.BackupOptions{})
	if _, err := kr.CreateBackup(t.Context(), path, core.BackupOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a backup: %v", err)
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.restore(t, path); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("over a store: %v", err)
	}
	if got, err := s.setup(t).VerifyBackup(t.Context(), openFile(t, path), nil); err != nil || got.ID != h.ID {
		t.Errorf("%v, %v", got.ID, err)
	}
	s.decrypts(t, open(t, s.config), 3)
}

func openFile(t *testing.T, path string) io.Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestRestoreRefuses: a backup that was altered leaves nothing, wherever it was.
func TestRestoreRefuses(t *testing.T) {
	s, kr := newShop(t)
	path, _ := s.backup(t, kr, core.BackupOptions{})
	s.lose(t, kr)
	before := names(t, s.dir)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	setup := s.setup(t)
	for name, altered := range map[string][]byte{
		"cut off":  file[:len(file)-1],
		"one byte": append(append([]byte{}, file[:len(file)-1]...), file[len(file)-1]^1),
		"none":     {},
		"longer":   append(append([]byte{}, file...), '\n'),
	} {
		if _, err := setup.RestoreBackup(t.Context(), bytes.NewReader(altered), nil); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := setup.VerifyBackup(t.Context(), bytes.NewReader(altered), nil); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if got := names(t, s.dir); got != before {
			t.Errorf("%s: %s is left; before it was %s", name, got, before)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = setup.RestoreBackup(ctx, bytes.NewReader(file), func(done, _ uint64) {
		if done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || names(t, s.dir) != before {
		t.Errorf("canceled: %v, %s is left", err, names(t, s.dir))
	}
	if _, err := setup.RestoreBackup(t.Context(), bytes.NewReader(file), nil); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// TestRestoreComparesTheHeader: a copy that is authentic, and not the one that its
// header describes.
func TestRestoreComparesTheHeader(t *testing.T) {
	s, kr := newShop(t)
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(s.dir, "keyrotor.db")})
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	snapshot, err := st.Snapshot(t.Context(), copied)
	if err := errors.Join(err, st.Close(), os.Remove(filepath.Join(s.dir, "keyrotor.db"))); err != nil {
		t.Fatal(err)
	}
	setup := s.setup(t)
	wrapper := wrapping.Wrapper{Now: time.Now, KeyManager: func(name string) (wrapping.KeyManager, error) { return setup.Catalog.Provider(name) }}
	for name, lie := range map[string]func(*backup.Source){
		"store": func(s *backup.Source) { s.Store[0] ^= 1 },
		"size":  func(s *backup.Source) { s.LogSize++ },
		"root":  func(s *backup.Source) { s.LogRoot[0] ^= 1 },
		"":      func(*backup.Source) {},
	} {
		source := backup.Source{
			Store: st.ID(), Content: openFile(t, copied), Size: uint64(snapshot.Size),
			LogSize: snapshot.LogSize, LogRoot: snapshot.LogRoot,
		}
		lie(&source)
		var file bytes.Buffer
		if _, err := backup.Write(t.Context(), &file, source, wrapper, []string{"local"}); err != nil {
			t.Fatal(err)
		}
		_, err := setup.RestoreBackup(t.Context(), &file, nil)
		if errors.Is(err, backup.ErrDamaged) != (name != "") {
			t.Errorf("another %s: %v", name, err)
		}
		if err := os.Remove(filepath.Join(s.dir, "keyrotor.db")); (err == nil) != (name == "") {
			t.Errorf("another %s: remove what was restored: %v", name, err)
		}
	}
}

// TestRecoverFails: what cannot be recovered is said, and the rest is.
func TestRecoverFails(t *testing.T) {
	s, kr := newShop(t)
	path, _ := s.backup(t, kr, core.BackupOptions{})
	s.rotate(t, kr, 1)
	s.lose(t, kr)
	if _, err := s.restore(t, path); err != nil {
		t.Fatal(err)
	}
	kr = open(t, s.config)
	files := t.TempDir()
	high := strings.Replace(s.tokens[3], ":v4:", ":v100004:", 1)
	if err := os.WriteFile(filepath.Join(files, "x"), []byte(high), 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := kr.Recover(t.Context(), core.RecoverOptions{Seen: map[string]uint32{"paymnts": 4}}); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("a key that was mistyped: %v", err)
	}
	r, err := kr.Recover(t.Context(), core.RecoverOptions{Paths: []string{files, filepath.Join(files, "..", "nowhere")}})
	if !errors.Is(err, core.ErrUnread) || len(r.Read.Failed) != 1 || len(r.Keys) != 0 {
		t.Errorf("with a file that is not there: %+v, %v", r, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := kr.Recover(canceled, core.RecoverOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if waiting, err := kr.Unrecovered(t.Context()); err != nil || len(waiting) != 2 {
		t.Fatalf("something was recovered: %+v, %v", waiting, err)
	}

	// One step too far for the word of a file.
	r, err = kr.Recover(t.Context(), core.RecoverOptions{Paths: []string{files}, Seen: map[string]uint32{"orders": 4}})
	if err != nil || len(r.Keys) != 2 || r.Keys[0].Err != nil || r.Keys[0].Seen != 4 || r.Keys[0].Result.Primary != 5 || !errors.Is(r.Keys[1].Err, core.ErrImplausible) ||
		!strings.HasSuffix(r.Keys[1].Err.Error(), "x:1 names version 100004 of key \"payments\", and the newest in the backup is 3: if that is right, say so with --seen payments=100004; else take the token out") {
		t.Errorf("%+v, %v", r.Keys, err)
	}
	r, err = kr.Recover(t.Context(), core.RecoverOptions{Paths: []string{files}, Seen: map[string]uint32{"payments": 100004, "orders": 9}})
	if err != nil || len(r.Keys) != 1 || r.Keys[0].Err != nil || r.Keys[0].Result.Primary != 100005 {
		t.Errorf("%+v, %v", r.Keys, err)
	}
}
