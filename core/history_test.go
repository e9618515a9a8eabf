package core_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// longAgo is when the clocks of these tests begin, so that none gets ahead of doctor's.
var longAgo = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// initWith makes a configuration with more at its end.
func initWith(t *testing.T, more string) string {
	t.Helper()
	path := newDir(t)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(more); err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	return path
}

func rotateTimes(t *testing.T, kr *core.Keyrotor, key string, n int) {
	t.Helper()
	for range n {
		if _, err := kr.Rotate(t.Context(), key, keyring.ReasonManual, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// typesOf lists events as "3 rotation", the newest first.
func typesOf(t *testing.T, page history.Page) []string {
	t.Helper()
	var list []string
	for _, b := range page.Events {
		e, err := history.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprint(e.Seq, " ", e.Type))
	}
	return list
}

// TestRetention: what the config wants gone is gone once a scheduler runs, and nothing
// that worked before has ceased to: rotation, old tokens, doctor, backup, restoration.
func TestRetention(t *testing.T) {
	for block, after := range map[string]time.Duration{
		"retention = \"30d\"": 31 * 24 * time.Hour,
		"persist = false":     3 * time.Minute,
	} {
		path := initWith(t, "history {\n"+block+"\n}\n")
		clock := clockwork.NewFakeClockAt(longAgo)
		kr, err := core.Opener{Clock: clock, Actor: "svc"}.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil { // event 1
			t.Fatal(err)
		}
		token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
		if err != nil {
			t.Fatal(err)
		}
		rotateTimes(t, kr, "payments", 3) // 2 to 7
		clock.Advance(after)
		rotateTimes(t, kr, "payments", 1) // 8 and 9
		_, root, err := rootOf(t, kr)
		if err != nil {
			t.Fatal(err)
		}
		if err := kr.Scheduler.Start(); err != nil {
			t.Fatal(err)
		}
		page := waitFor(t, kr, history.Pruned)
		if err := kr.Scheduler.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e, err := history.Decode(page.Events[0]); err != nil || e.Count != 6 || e.Actor != "svc" || e.Operation == "" {
			t.Errorf("%s: the history tells of %+v, %v", block, e, err)
		}
		all, err := kr.History(t.Context(), history.Query{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := typesOf(t, all), []string{"10 pruned", "9 rotation", "8 creation", "1 creation"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q are left, want %q", block, got, want)
		}
		if r, err := kr.HistoryRecord(t.Context(), 5, 0); err != nil || r.Bytes != nil || r.Check() != nil {
			t.Errorf("%s: event 5 is %+v, %v", block, r, err)
		}
		if err := kr.Close(); err != nil {
			t.Fatal(err)
		}

		kr = open(t, path)
		if _, after, err := rootOf(t, kr); err != nil || after == root {
			t.Errorf("%s: the root did not grow: %v, %v", block, after, err)
		}
		rotateTimes(t, kr, "payments", 1)
		if got, err := kr.Decrypt(t.Context(), token, nil); err != nil || string(got) != "s3cret" {
			t.Errorf("%s: %q, %v", block, got, err)
		}
		historyInOrder(t, path, "retention has taken 6 of the first 7")

		backup := filepath.Join(t.TempDir(), "backup")
		if _, err := kr.CreateBackup(t.Context(), backup, core.BackupOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := kr.Close(); err != nil {
			t.Fatal(err)
		}
		restore(t, path, backup)
		historyInOrder(t, path, "retention has taken 6 of the first 7")
		kr = open(t, path)
		if _, err := kr.Recover(t.Context(), core.RecoverOptions{}); err != nil {
			t.Fatal(err)
		}
		if got, err := kr.Decrypt(t.Context(), token, nil); err != nil || string(got) != "s3cret" {
			t.Errorf("%s, restored: %q, %v", block, got, err)
		}
	}
}

// TestRetentionKnowsTheTargets: a service that runs for longer than unknown targets are
// kept, and delivers nothing itself, does not forget those that its own config names.
func TestRetentionKnowsTheTargets(t *testing.T) {
	told := filepath.Join(t.TempDir(), "told.jsonl")
	path := initWith(t, fmt.Sprintf("history {\nretention = \"30d\"\n}\nnotify \"log\" \"audit\" {\npath = %q\n}\n", told))
	clock := clockwork.NewFakeClockAt(longAgo)
	kr, err := core.Opener{Clock: clock}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kr.Close() }()
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(31 * 24 * time.Hour)
	if n, err := kr.PruneHistory(t.Context()); n != 0 || err != nil {
		t.Errorf("%d events went, %v: the target has not seen them", n, err)
	}
	if _, err := kr.Notifier.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(told); err != nil || !strings.Contains(string(b), "io.keyrotor.key_created") {
		t.Errorf("the target was told %q, %v", b, err)
	}
}

func rootOf(t *testing.T, kr *core.Keyrotor) (size uint64, root string, err error) {
	t.Helper()
	e, err := kr.HistoryExtent(t.Context())
	return e.Size, e.Root.String(), err
}

// waitFor answers the events of a type once there is one.
func waitFor(t *testing.T, kr *core.Keyrotor, typ history.Type) history.Page {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		page, err := kr.History(t.Context(), history.Query{Type: typ})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) > 0 {
			return page
		}
		<-tick.C
	}
}

// historyInOrder has doctor look at the history.
func historyInOrder(t *testing.T, path, want string) {
	t.Helper()
	report, err := core.Opener{}.Examine(t.Context(), path, false)
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, f := range report.Findings {
		// What is left is old for a doctor, who goes by the clock of the machine.
		if f.Group() == doctor.GroupHistory && f.Status != doctor.OK && f.Check != "history.retention" {
			t.Errorf("doctor: %+v", f)
		}
		said = said || strings.Contains(f.Evidence, want)
	}
	if !said {
		t.Errorf("doctor does not say %q", want)
	}
}

// restore puts the store of a backup in the place of a config's.
func restore(t *testing.T, path, backup string) {
	t.Helper()
	setup, err := core.Opener{}.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := setup.VerifyBackup(t.Context(), openFile(t, backup), nil); err != nil {
		t.Error(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(setup.Config.Storage.Path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if _, err := setup.RestoreBackup(t.Context(), openFile(t, backup), nil); err != nil {
		t.Fatal(err)
	}
	if err := setup.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecentEvents: the newest events are in memory, whoever committed them, and go on
// being answered when the store cannot be.
func TestRecentEvents(t *testing.T) {
	path := initWith(t, "history {\nmax_events = 4\n}\n")
	kr, err := core.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if page, err := kr.RecentEvents(t.Context(), history.Query{}); err != nil || len(page.Events) != 0 {
		t.Errorf("of nothing: %+v, %v", page, err)
	}
	other := open(t, path)
	if _, err := other.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil { // 1
		t.Fatal(err)
	}
	recent := func(q history.Query, want ...string) {
		t.Helper()
		page, err := kr.RecentEvents(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got := typesOf(t, page); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	recent(history.Query{}, "1 creation")
	rotateTimes(t, other, "payments", 3) // 2 to 7
	recent(history.Query{}, "7 rotation", "6 creation", "5 rotation", "4 creation")
	recent(history.Query{Type: history.Rotation, Limit: 1}, "7 rotation")
	if err := kr.Close(); err != nil { // the store is away
		t.Fatal(err)
	}
	rotateTimes(t, other, "payments", 1)
	recent(history.Query{Version: 4}, "7 rotation", "6 creation")
	if _, err := kr.RecentEvents(t.Context(), history.Query{Limit: -1}); err == nil {
		t.Error("a negative limit was taken")
	}
}

// TestRecentEventsBehindUnreadable: an event that this build cannot read does not keep
// those behind it out of memory.
func TestRecentEventsBehindUnreadable(t *testing.T) {
	path := newDir(t)
	kr := open(t, path)
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil { // 1
		t.Fatal(err)
	}
	rotateTimes(t, kr, "payments", 1) // 2 and 3
	db, err := sql.Open("sqlite", filepath.Join(filepath.Dir(path), "keyrotor.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `UPDATE events SET bytes = CAST('{"schema":99}' AS BLOB) WHERE seq = 2`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		page, err := kr.RecentEvents(t.Context(), history.Query{})
		if got, want := typesOf(t, page), []string{"3 rotation", "1 creation"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// TestRecentEventsOfScheduler: a process that rotates keys has the events in memory,
// whether it was asked before or not.
func TestRecentEventsOfScheduler(t *testing.T) {
	path := initWith(t, "history {\nretention = \"1d\"\n}\n")
	clock := clockwork.NewFakeClockAt(longAgo)
	kr, err := core.Opener{Clock: clock}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil { // 1
		t.Fatal(err)
	}
	rotateTimes(t, kr, "payments", 1) // 2 and 3
	clock.Advance(25 * time.Hour)
	rotateTimes(t, kr, "payments", 1) // 4 and 5
	if err := kr.Scheduler.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, kr, history.Pruned) // what goes has been read before
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	page, err := kr.RecentEvents(t.Context(), history.Query{})
	if got, want := typesOf(t, page), []string{"5 rotation", "4 creation", "3 rotation", "2 creation", "1 creation"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// TestVersionInfo: what is said of a version is what can be done with it.
func TestVersionInfo(t *testing.T) {
	clock := clockwork.NewFakeClockAt(longAgo)
	kr, err := core.Opener{Clock: clock}.Open(t.Context(), initWith(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{HardLimit: 1000}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	rotateTimes(t, kr, "payments", 3)
	if _, err := kr.SetState(t.Context(), "payments", 2, keyring.Suspended, "a drill"); err != nil {
		t.Fatal(err)
	}
	for number, want := range map[uint32]string{
		1: "deactivated primary false encrypts false decrypts true age 1h0m0s of 1000, 1 wrap, events [1 creation]",
		2: "suspended primary false encrypts false decrypts false age 0s of 1000, 1 wrap, events [8 state 3 rotation 2 creation]",
		4: "active primary true encrypts true decrypts true age 0s of 1000, 1 wrap, events [7 rotation 6 creation]",
	} {
		info, err := kr.VersionInfo(t.Context(), "payments", number)
		if err != nil {
			t.Fatal(err)
		}
		var events []string
		for _, e := range info.Events {
			events = append(events, fmt.Sprint(e.Seq, " ", e.Type))
		}
		got := fmt.Sprintf("%s primary %v encrypts %v decrypts %v age %s of %d, %d wrap, events %v",
			info.State, info.Primary, info.Encrypts, info.Decrypts, info.Age, info.HardLimit, len(info.Wraps), events)
		if got != want || info.Key != "payments" || info.Number != number {
			t.Errorf("version %d of %s: %s\nwant %s", info.Number, info.Key, got, want)
		}
	}
	active, err := kr.ActiveVersions(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	var numbers []uint32
	for _, v := range active {
		numbers = append(numbers, v.Number)
	}
	if want := []uint32{4, 3, 1}; !slices.Equal(numbers, want) || !active[0].Primary || active[1].Primary {
		t.Errorf("active are %v, want %v", numbers, want)
	}
	if _, err := kr.VersionInfo(t.Context(), "payments", 9); !errors.Is(err, keyring.ErrUnknownVersion) {
		t.Errorf("version 9: %v", err)
	}
	if _, err := kr.VersionInfo(t.Context(), "orders", 1); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := kr.ActiveVersions(t.Context(), "orders"); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("no key: %v", err)
	}
}
