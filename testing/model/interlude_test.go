package model

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
)

// interlude comes after a round, when nothing is under way: processes come and go,
// and the store is lost.
func (tr *troupe) interlude(t *testing.T, round int) {
	t.Helper()
	i := tr.random.IntN(processes)
	for _, a := range tr.all {
		if err := tr.file(a, from(tr.random)); err != nil {
			t.Fatal(err)
		}
	}
	if tr.all[0].now().restored {
		tr.recover(t)
	}
	switch round % 7 {
	case 0:
		tr.backUp(t)
	case 1:
		tr.moveKEK(t, i)
	case 2:
		tr.restore(t)
	case 3:
		tr.replace(t, i, true)
	case 4, 5:
		tr.crash(t, i)
	default:
		tr.replace(t, i, false)
	}
}

// moveKEK has a process rotate a key-encryption key, or look whether it has been.
func (tr *troupe) moveKEK(t *testing.T, i int) {
	t.Helper()
	o := op{Kind: pick(from(tr.random), "kind", rotateKEK, rewrapKEK), To: pick(from(tr.random), "provider", firstProvider, secondProvider)}
	got, err := await(tr.processes[i].ask(o))
	if err == nil {
		err = tr.settleKEK(o, got)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// backup is a backup, and what the model knew at its time.
type backup struct {
	path     string
	accounts []*account
}

func (tr *troupe) backUp(t *testing.T) {
	t.Helper()
	tr.backups++
	b := &backup{path: filepath.Join(tr.dir, fmt.Sprintf("backup.%d", tr.backups))}
	for _, a := range tr.all {
		b.accounts = append(b.accounts, a.clone())
	}
	err := tr.with(t.Context(), func(kr *core.Keyrotor) error {
		_, err := kr.CreateBackup(t.Context(), b.path, core.BackupOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.backup = b
}

// restore loses the store, and has the newest backup in its place.
func (tr *troupe) restore(t *testing.T) {
	t.Helper()
	for _, p := range tr.processes {
		p.end(t, tr.random.IntN(2) == 0)
	}
	err := tr.store.Close()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if removed := os.Remove(tr.database() + suffix); !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	if err := errors.Join(err, tr.restoreFrom(t.Context(), tr.backup.path)); err != nil {
		t.Fatal(err)
	}
	for i, a := range tr.all {
		a.restore(tr.backup.accounts[i])
		// What is registered has no token of a version that is lost.
		if err := tr.file(a, func(string, int) int { return 0 }); err != nil {
			t.Fatal(err)
		}
	}
	tr.openStore(t)
	for i := range tr.processes {
		tr.processes[i] = startProcess(t, tr.config)
	}
	tr.catchUpKEKs(t)
}

func (tr *troupe) restoreFrom(ctx context.Context, path string) error {
	setup, err := core.Opener{}.Load(ctx, tr.config)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = setup.RestoreBackup(ctx, f, nil)
	return errors.Join(err, setup.Close())
}

// catchUpKEKs brings the wraps of a backup to versions that the key-encryption keys
// got since. How many there are the model does not know.
func (tr *troupe) catchUpKEKs(t *testing.T) {
	t.Helper()
	for _, provider := range []string{firstProvider, secondProvider} {
		got, err := await(tr.processes[0].ask(op{Kind: rewrapKEK, To: provider}))
		if err != nil || got.Class != ok {
			t.Fatalf("rewrap of %s after a restore: %s, %v", provider, got.Error, err)
		}
	}
}

// recover tells every key which numbers were in use when the store was lost.
func (tr *troupe) recover(t *testing.T) {
	t.Helper()
	seen := map[string]uint32{}
	for _, a := range tr.all {
		seen[a.name] = a.highest
	}
	err := tr.with(t.Context(), func(kr *core.Keyrotor) error {
		done, err := kr.Recover(t.Context(), core.RecoverOptions{Seen: seen})
		if err == nil && len(done.Keys) != len(tr.all) {
			err = fmt.Errorf("%d keys were recovered, want %d", len(done.Keys), len(tr.all))
		}
		for i, key := range done.Keys { // in order, as the accounts are
			err = errors.Join(err, key.Err)
			if key.Err == nil {
				err = errors.Join(err, tr.all[i].settleRecovery(key.Result.Primary))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// replace ends a process and starts another one in its place.
func (tr *troupe) replace(t *testing.T, i int, kill bool) {
	t.Helper()
	tr.processes[i].end(t, kill)
	tr.processes[i] = startProcess(t, tr.config)
	tr.restarted(i, kill)
}

// crash kills a process in the middle of an operation, which has taken place or not,
// as the store tells.
func (tr *troupe) crash(t *testing.T, i int) {
	t.Helper()
	a := pick(from(tr.random), "key", tr.all...)
	o := a.draw(pick(from(tr.random), "kind", rotate, rotate, importVersion, setState, setMin, encrypt), from(tr.random))
	came := tr.processes[i].ask(o)
	<-time.After(time.Duration(tr.random.IntN(20_000)) * time.Microsecond)
	tr.processes[i].Kill()
	tr.processes[i].Wait()
	var err error
	select {
	case got := <-came:
		err = a.settle(i, o, got)
	default:
		var stored result
		if stored, err = tr.describe(t, a); err == nil {
			err = a.settleCrash(o, stored)
		}
	}
	if err != nil {
		t.Fatal(a.story(err))
	}
	tr.replace(t, i, true)
}
