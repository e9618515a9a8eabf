package e2e

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// TestKillAtEveryStep kills the host at each named step of a rotation once.
func TestKillAtEveryStep(t *testing.T) {
	s := newScene(t, "payments")
	st := s.openStore(t)
	primary := uint32(1)
	for _, c := range []struct {
		step      rotation.Step
		committed bool
	}{
		{rotation.StepIntent, false},
		{rotation.StepGenerated, false},
		{rotation.StepWrapped, false},
		{rotation.StepProved, false},
		{rotation.StepCommitted, true},
		{rotation.StepAnnounced, true},
	} {
		told := s.hire(t, c.step).fell(t)
		orphans(t, time.Now())
		if told.steps[c.step] != 1 || told.last != c.step {
			t.Errorf("killed at %s, and the last step was %s", c.step, told.last)
		}
		want := map[bool]int{true: 0, false: 1}[c.committed]
		if n := s.intentsOf(t, st, told.owner); n != want {
			t.Errorf("killed at %s: %d claims are left, want %d", c.step, n, want)
		}
		if c.committed {
			primary++
		}
		sum := s.audit(t, st, s.openAll(t))
		if sum.versions != int(primary) {
			t.Errorf("killed at %s: %d versions, want %d", c.step, sum.versions, primary)
		}
	}
}

// openAll opens all tokens that were ever answered, in an engine of its own.
func (s *scene) openAll(t *testing.T) map[version]uint64 {
	t.Helper()
	return s.openFrom(t, 0).returned
}

// openFrom opens the tokens of the workers from a number on.
func (s *scene) openFrom(t *testing.T, number int) tokens {
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
	return openTokens(t, kr, s.files(number, s.hired))
}

// settle rotates every key once: what killed processes left holds up nobody, and
// is gone afterwards.
func (s *scene) settle(t *testing.T, st *sqlite.Store) {
	t.Helper()
	kr, err := core.Open(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, key := range s.keys {
		if _, err := kr.Rotate(ctx, key, "manual", ""); err != nil {
			t.Errorf("a rotation after the kills: %v", err)
		}
	}
	if err := kr.Close(); err != nil {
		t.Error(err)
	}
	if list, err := st.Intents(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("INTENT: after a rotation of every key there are %+v, %v", list, err)
	}
}

const (
	// crew is how many workers there are at a time.
	crew = 4
	// roundOf kills is followed by an audit, with no worker left.
	roundOf = 50
	// longForm of a test is at least so many kills, where shares mean something.
	longForm = 100
)

// hunt kills workers, one after the other, and keeps count.
type hunt struct {
	*scene
	store  *sqlite.Store
	random *rand.Rand
	crew   []*hand

	killed, claimed, unborn int
	rotated, failed         int
	left                    int             // plugins
	gone                    []time.Duration // after which there were no more
}

// TestHostKills kills hosts while four of them encrypt and rotate over one store:
// some as they reach a step, some at any moment, start-up included.
func TestHostKills(t *testing.T) {
	s := newScene(t, "payments", "orders", "mail", "sessions")
	h := &hunt{scene: s, store: s.openStore(t), random: rand.New(rand.NewPCG(*seed, 0))}
	returned := map[version]uint64{}
	opened, audited := 0, 0
	for done := 0; done < *kills; {
		round := min(roundOf, *kills-done)
		h.round(t, round)
		done += round
		now := h.openFrom(t, audited)
		opened += now.total
		audited = h.hired
		for at, n := range now.returned {
			returned[at] += n
		}
		h.audit(t, h.store, returned)
		h.settle(t, h.store)
		if t.Failed() {
			t.Fatalf("lost after %d kills with -seed %d", done, *seed)
		}
	}
	all := h.openFrom(t, 0)
	if !maps.Equal(all.returned, returned) {
		t.Error("another number of tokens at the end than kill by kill")
	}
	sum := h.audit(t, h.store, all.returned)
	if h.rotated == 0 || h.claimed == 0 {
		t.Errorf("%d rotations were answered and %d cut off before their commit: the test shows nothing", h.rotated, h.claimed)
	}
	if *kills >= longForm && h.claimed*10 < *kills*3 {
		t.Errorf("%d of %d kills fell between intent and commit, less than 30 %%", h.claimed, *kills)
	}
	slices.Sort(h.gone)
	report(t, "hosts", []row{
		{"SIGKILLs of hosts, four at once", h.killed},
		{"  between intent and commit (claim left behind)", h.claimed},
		{"  before the first encryption", h.unborn},
		{"tokens returned", all.total},
		{"  opened after the kill that followed", opened},
		{"  opened at the end", all.total - all.lost},
		{"  lost", all.lost},
		{"rotations answered", h.rotated},
		{"versions", sum.versions},
		{"  uses booked", sum.booked},
		{"events, without a gap, under the Merkle root", sum.events},
		{"encryptions that failed", h.failed},
		{"plugins left behind", h.left},
		{"  gone after, median", h.gone[len(h.gone)/2].Round(time.Millisecond)},
		{"  gone after, at the latest", h.gone[len(h.gone)-1].Round(time.Millisecond)},
	})
}

// round kills so many workers. All but the last are replaced at once, so that none
// is left in the end.
func (h *hunt) round(t *testing.T, n int) {
	t.Helper()
	for range min(n, crew) {
		h.crew = append(h.crew, h.hire(t, ""))
	}
	for left := n; left > 0; left-- {
		i := h.random.IntN(len(h.crew))
		h.kill(t, h.crew[i])
		if left > len(h.crew) {
			h.crew[i] = h.hire(t, "")
		} else {
			h.crew = slices.Delete(h.crew, i, i+1)
		}
	}
}

// kill ends one worker.
func (h *hunt) kill(t *testing.T, victim *hand) {
	t.Helper()
	var end time.Time
	victim.take(drawAim(h.random, func() {
		end = time.Now()
		victim.Kill()
	}))
	told := victim.fell(t)
	// Another worker may have removed the claim by now, so the count is at least this.
	h.claimed += h.intentsOf(t, h.store, told.owner)
	left, gone := orphans(t, end)
	h.left, h.gone = h.left+left, append(h.gone, gone)
	h.auditRows(t)
	h.killed++
	h.rotated, h.failed = h.rotated+told.rotated, h.failed+told.failed
	if !told.encrypted {
		h.unborn++
	}
	for code, n := range told.refused {
		if code != "rotated" {
			t.Errorf("%d rotations failed with %s", n, code)
		}
	}
}
