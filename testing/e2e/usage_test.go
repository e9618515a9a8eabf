package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/procs"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// usageLimit is the hard stop of the key that is used up. It is rotated at half of it.
const usageLimit = 12_000

// user is a process that uses the key up, as its boss sees it.
type user struct {
	*procs.Child
	counts *counts

	mu     sync.Mutex
	owner  string
	first  chan struct{} // closed when it has encrypted
	failed int
}

func (s *scene) hireUser(t *testing.T, old []byte) *user {
	t.Helper()
	path := filepath.Join(s.dir, fmt.Sprintf("counts.%d", s.hired))
	s.hired++
	encoded, err := json.Marshal(usageJob{Config: s.config, Key: s.keys[0], Counts: path, Old: old})
	if err != nil {
		t.Fatal(err)
	}
	u := &user{first: make(chan struct{})}
	if u.counts, err = mapCounts(path); err != nil {
		t.Fatal(err)
	}
	u.Child = procs.Start(t, func(line string) {
		u.mu.Lock()
		defer u.mu.Unlock()
		switch what, value, _ := strings.Cut(line, " "); what {
		case "owner":
			u.owner = value
		case "encrypted":
			close(u.first)
		case "failed":
			if u.failed++; u.failed <= 5 {
				t.Errorf("ENCRYPTION: %s", line)
			}
		default:
			t.Errorf("the process says %q", line)
		}
	}, usageVariable+"="+string(encoded))
	return u
}

// begun waits until a process has encrypted.
func (u *user) begun(t *testing.T) {
	t.Helper()
	select {
	case <-u.first:
	case <-time.After(patience):
		t.Fatalf("nothing is encrypted within %s\n%s", patience, u.Stderr())
	}
}

// TestUsage lets four processes use one key up, each with an engine, a plugin and a
// scheduler of its own, while some are killed: what is on record of each version is
// never under what it was used for, and over it by no more than what the killed ones
// held; no version is used above its hard stop; and no encryption fails.
func TestUsage(t *testing.T) {
	for _, kills := range tier.Pick([]int{1}, []int{1, 2}) {
		t.Run(fmt.Sprintf("%d killed", kills), func(t *testing.T) { useUpWith(t, kills) })
	}
}

func useUpWith(t *testing.T, kills int) {
	s := newScene(t, "payments")
	st := s.openStore(t)
	old := s.prepareUsage(t)
	random := rand.New(rand.NewPCG(*seed, uint64(kills)))
	var users, alive []*user
	hire := func() *user {
		u := s.hireUser(t, old)
		users = append(users, u)
		return u
	}
	for range crew {
		alive = append(alive, hire())
	}
	for _, u := range alive {
		u.begun(t)
	}
	end := time.After(*usageTime)
	lost := make(map[uint32][2]uint64)
	for n := range kills {
		// In the middle of the run, one after the other.
		part := *usageTime / time.Duration(kills+2)
		<-time.After(part/2 + time.Duration(random.Int64N(int64(part))))
		i := random.IntN(len(alive))
		alive[i].Kill()
		if state, stderr := alive[i].Wait(); state != procs.Killed {
			t.Fatalf("process %d was not killed but ended by itself: %s\n%s", n, state, stderr)
		}
		for version, uses := range heldBy(t, st, alive[i].owner) {
			for p, u := range uses {
				l := lost[version]
				l[p] += u
				lost[version] = l
			}
		}
		alive[i] = hire()
	}
	<-end
	s.awaitRotations(t, st, int(*usageTime*50/time.Minute)+1)
	for _, u := range alive {
		u.Stop()
	}
	failed := 0
	for _, u := range alive {
		if state, stderr := u.Wait(); state != procs.Succeeded {
			t.Errorf("a process that was told to end: %s\n%s", state, stderr)
		}
	}
	for _, u := range users {
		failed += u.failed
	}
	orphans(t, time.Now())
	s.auditUsage(t, st, users, lost, kills, failed)
}

// prepareUsage sets the hard stop, and answers a ciphertext of the first version, which
// is no longer the primary.
func (s *scene) prepareUsage(t *testing.T) []byte {
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
	if _, err := kr.Configure(t.Context(), s.keys[0], engine.Settings{HardLimit: new(uint64(usageLimit))}, ""); err != nil {
		t.Fatal(err)
	}
	old, err := kr.EncryptBinary(t.Context(), s.keys[0], []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.Rotate(t.Context(), s.keys[0], keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	return old
}

// awaitRotations gives a slow machine more time for so many rotations.
func (s *scene) awaitRotations(t *testing.T, st *sqlite.Store, least int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		key, err := st.Key(t.Context(), s.keys[0])
		if err != nil {
			t.Fatal(err)
		}
		rotations := len(key.Versions) - 2 // without that of prepareUsage
		if rotations >= least {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d rotations in %s and %s more, want %d", rotations, *usageTime, patience, least)
		}
	}
}

// heldBy answers the uses that a process holds on lease, by version and purpose.
func heldBy(t *testing.T, st *sqlite.Store, owner string) map[uint32][2]uint64 {
	t.Helper()
	held, err := st.Held(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	uses := make(map[uint32][2]uint64)
	for _, h := range held {
		if h.Owner == owner {
			uses[h.Version] = [2]uint64{keyring.Encrypting: h.Uses - h.Reencrypting, keyring.Reencrypting: h.Reencrypting}
		}
	}
	return uses
}

// auditUsage holds what is on record against what every process counted.
func (s *scene) auditUsage(t *testing.T, st *sqlite.Store, users []*user, lost map[uint32][2]uint64, kills, failed int) {
	t.Helper()
	key, err := st.Key(t.Context(), s.keys[0])
	if err != nil {
		t.Fatal(err)
	}
	held, err := st.Held(t.Context(), s.keys[0])
	if err != nil {
		t.Fatal(err)
	}
	var out uint64
	for _, h := range held {
		out += h.Uses
	}
	var uses, recorded, heldByKilled, most uint64
	for _, v := range key.Versions {
		n := v.Number
		if key.Uses[n] > usageLimit {
			t.Errorf("STOP: version %d has %d uses on record", n, key.Uses[n])
		}
		most = max(most, key.Uses[n])
		for p, booked := range [2]uint64{key.Uses[n] - key.Reencrypted[n], key.Reencrypted[n]} {
			var truth uint64
			for _, u := range users {
				truth += u.counts[n][p].Load()
			}
			if n == 1 && p == int(keyring.Encrypting) {
				truth++ // that of prepareUsage
			}
			// A killed process may have been between an encryption and its count.
			if excess := int64(booked) - int64(truth); excess < 0 || excess > int64(lost[n][p])+int64(kills*usageGoroutines) {
				t.Errorf("COUNT: version %d, purpose %d: %d on record, %d answered; killed processes held %d", n, p, booked, truth, lost[n][p])
			}
			uses, recorded, heldByKilled = uses+truth, recorded+booked, heldByKilled+lost[n][p]
		}
	}
	if out != heldByKilled {
		t.Errorf("%d uses are out on lease at the end, and killed processes held %d", out, heldByKilled)
	}
	report(t, fmt.Sprintf("%d of %d processes in %s", kills, crew, *usageTime), []row{
		{"encryptions and re-encryptions answered", uses},
		{"  failed", failed},
		{"on record", recorded},
		{"  over what was answered", recorded - uses},
		{"  held by killed processes when they were killed", heldByKilled},
		{"rotations", len(key.Versions) - 2}, // without that of prepareUsage
		{fmt.Sprintf("most uses of a version, of %d", usageLimit), most},
	})
}
