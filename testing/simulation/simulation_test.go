// Package simulation lets ten years go by for a thousand keys: several processes with
// clocks that disagree and jump, look at irregular times, are down for days, and
// rotate what policies say is due, against a model of the store that lets a slot
// rotate a key once. It exists because what can go wrong with a schedule goes wrong
// on two nights of a year, in some zone, while something is down.
//
// Whether a decision is right is not for core/policy to say: an oracle that has
// none of its code, and knows schedules by having watched a clock, is asked about
// every decision, those to do nothing included.
package simulation

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
	_ "time/tzdata"
)

var seed = flag.Uint64("seed", 20261128, "what the simulation draws is drawn from this")

// The ten years have a day that Apia skipped and the last summer time in Sao Paulo.
var (
	began = time.Date(2009, 3, 1, 0, 0, 0, 0, time.UTC)
	ended = began.AddDate(10, 0, 0)
)

const keys = 1000

func TestTenYears(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seed, 0))
	slots := watchClocks()
	w := newWorld(t, rng, drawKeys(rng, slots))
	for w.step() {
		if t.Failed() {
			t.Fatalf("at %s (-seed %d)", time.Unix(0, w.now).UTC(), *seed)
		}
	}
	w.settle()
	c := &w.counts
	t.Logf("%d keys, %d processes, %s to %s, seed %d", len(w.keys), len(w.processes), began.Format(time.DateOnly), ended.Format(time.DateOnly), *seed)
	t.Logf("%d looks at all keys, %d decisions asked for, %d were due", c.looks, c.decisions, c.due)
	t.Logf("%d jumps of a clock (%d back), %d outages of one process, %d of all", c.jumps, c.jumpsBack, c.outages, c.allDown)
	t.Logf("%d rotations by policies, %d by hand; by kind: %v", c.rotations, c.manual, c.kinds)
	t.Logf("%d slots of plain schedules: %d served once, %d caught up with by a later one's rotation, %d covered by a rotation by hand or by a clock ahead, %d pending at the end",
		c.slots, c.served, c.caughtUp, c.covered, c.pending)
	t.Logf("%d times two processes saw the same key due: %d refused by the store, %d rotated twice because their clocks stood in different slots",
		c.races, c.refused-c.refusedLater, c.twice)
	t.Logf("%d times a served slot came again on a clock behind: refused", c.refusedLater)
	t.Logf("%d decisions held by a blackout, %d delayed by jitter", c.held, c.delayed)
	for what, n := range map[string]int{
		"slots": c.slots, "caught up": c.caughtUp, "held": c.held, "delayed": c.delayed, "refused": c.refused,
		"races": c.races, "outages of all": c.allDown, "clocks back": c.jumpsBack, "covered": c.covered,
	} {
		if n == 0 {
			t.Errorf("%s: none, so nothing was tested there", what)
		}
	}
}
