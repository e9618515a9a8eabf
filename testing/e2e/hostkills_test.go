//go:build exhaustive

package e2e

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

const (
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
