package sqlite

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// childPath names the variable that makes TestCrashChild the process that dies.
const childPath = "KEYROTOR_TEST_CRASH_DB"

// TestCrash kills a process in the middle of its updates, again and again, and
// looks at what it left.
func TestCrash(t *testing.T) {
	const kills, seed = 30, 20260301
	random := rand.New(rand.NewPCG(seed, seed))
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "payments")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var last uint32
	for i := range kills {
		told := killWhileWriting(t, path, random)
		primary := checkAfterCrash(t, path)
		if primary < told {
			t.Fatalf("kill %d: version %d was committed, and the primary is %d", i, told, primary)
		}
		if primary <= last {
			t.Fatalf("kill %d: no update since the one before: primary %d", i, primary)
		}
		last = primary
	}
}

// TestNeighbour: two processes share a store. One rotates a key under the leases
// that the other holds, and dies; nothing is miscounted, lost or held up.
func TestNeighbour(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	create(t, s, "payments")
	create(t, s, "orders")
	cmd, lines := startChild(t, path)
	const rounds = 20
	straddled := 0
	for range rounds {
		l, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "parent", Count: leased, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		rotate(t, s, "orders")
		if !lines.Scan() {
			t.Fatal("the child ended by itself")
		}
		if key, err := s.Key(t.Context(), "payments"); err != nil {
			t.Fatal(err)
		} else if key.Primary > l.Version {
			straddled++
		}
		if err := s.Return(t.Context(), l, used); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // until it is gone
		rotate(t, s, "orders")
	}
	_ = cmd.Wait() // it was killed
	rotate(t, s, "orders")
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
	if straddled == 0 {
		t.Error("no lease was held across a rotation")
	}
	checkUses(t, s, rounds)
}

// What each lease of this file is for, and what of it is used.
const leased, used = 5, 3

// checkUses: the child leased once a rotation, and what it held when it was killed
// counts in full.
func checkUses(t *testing.T, s *Store, parents uint64) {
	t.Helper()
	key, err := s.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if key.Digest(s.ID()).String() != key.LastDigest {
		t.Error("the record is not the one of its last event")
	}
	var total uint64
	for _, n := range key.Uses {
		total += n
	}
	rotations := uint64(key.Primary) - 1
	most := (parents + rotations) * used
	if total != most && total != most-used && total != most-used+leased {
		t.Errorf("%d uses after %d leases of ours and %d rotations of the child; want %d, or %d or %d if its last lease is not returned or taken",
			total, parents, rotations, most, most-used+leased, most-used)
	}
}

// killWhileWriting answers the last version that the child said it committed.
func killWhileWriting(t *testing.T, path string, random *rand.Rand) uint32 {
	t.Helper()
	cmd, lines := startChild(t, path)
	var told uint32
	for range 1 + random.IntN(8) {
		if !lines.Scan() {
			t.Fatal("the child ended by itself")
		}
		n, err := strconv.ParseUint(lines.Text(), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		told = uint32(n)
	}
	// Somewhere within the next update or the one after.
	<-time.After(time.Duration(random.IntN(3000)) * time.Microsecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		if n, err := strconv.ParseUint(lines.Text(), 10, 32); err == nil {
			told = uint32(n)
		}
	}
	_ = cmd.Wait() // it was killed
	return told
}

// startChild starts a process that rotates "payments", prints each version that it
// committed, and uses it.
func startChild(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), childPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func TestCrashChild(t *testing.T) {
	path := os.Getenv(childPath)
	if path == "" {
		return // this is not the child
	}
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	claim := store.Claim{Key: "payments", Kind: "rotate", Owner: strconv.Itoa(os.Getpid()), TTL: time.Hour}
	for {
		in, err := s.Begin(t.Context(), claim)
		if held := (*store.HeldError)(nil); errors.As(err, &held) { // by the one that was killed
			claim.Replace = held.Intent.Token
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		key, err := s.Update(t.Context(), store.Update{Name: "payments", Fence: &in, Apply: newVersion(time.Now)})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(key.Primary)
		l, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "child", Count: leased, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Return(t.Context(), l, used); err != nil {
			t.Fatal(err)
		}
	}
}

// checkAfterCrash opens the store as the next process does, and answers the
// primary.
func checkAfterCrash(t *testing.T, path string) uint32 {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var verdict string
	if err := s.reader.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Fatalf("integrity check: %s, %v", verdict, err)
	}
	var orphans int
	err = s.reader.QueryRow(`SELECT (SELECT count(*) FROM pragma_foreign_key_check)
		+ (SELECT count(*) FROM wraps AS w WHERE NOT EXISTS (SELECT 1 FROM versions AS v WHERE v.key_id = w.key_id AND v.number = w.version))`).Scan(&orphans)
	if err != nil || orphans != 0 {
		t.Fatalf("%d orphans, %v", orphans, err)
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	key, err := s.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if key.Digest(s.ID()).String() != key.LastDigest {
		t.Fatalf("the record is not the one of its last event")
	}
	if err := key.Check(); err != nil {
		t.Fatal(err)
	}
	size, _, err := s.Root(t.Context())
	if want := 2 * uint64(key.Primary); err != nil || size != want {
		t.Fatalf("%d events, %v; want %d, two a version", size, err, want)
	}
	if v, err := key.PrimaryVersion(); err != nil || v.State != keyring.Active {
		t.Fatalf("primary %+v, %v", v, err)
	}
	return key.Primary
}
