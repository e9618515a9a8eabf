//go:build exhaustive

package e2e

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestKillRotateKEKAtRandom does so at any moment, as often as it takes to get through.
// A kill that comes when the claim was given up already comes too late to matter.
func TestKillRotateKEKAtRandom(t *testing.T) {
	const seed, requests, killsEach = 20261123, 4, 3
	random := rand.New(rand.NewPCG(seed, 1))
	s := newMoveScene(t)
	kills, between := 0, 0
	for i := range requests {
		for attempt, claimed := 0, true; claimed; attempt++ {
			m := s.start(t, jobRotate, "", "")
			if attempt < killsEach {
				// From its first step on, since what comes before does nothing.
				if first := m.next(); first != "step intent" {
					t.Fatalf("the first step is %q\n%s", first, m.Stderr())
				}
				moment := time.Duration(random.IntN(40_000)) * time.Microsecond
				time.AfterFunc(moment, m.Kill)
			}
			last, killed := m.end(t)
			claimed = len(s.claims(t)) > 0
			if killed && claimed {
				kills++
			}
			if killed && claimed && last != "step intent" {
				between++
			}
		}
		s.kekIs(t, i+1, 4)
	}
	s.settled(t)
	t.Logf("%d rotations with %d kills (seed %d), %d of them after the key manager had rotated", requests, kills, seed, between)
	if kills == 0 {
		t.Error("nothing was killed: the test shows nothing")
	}
}
