//go:build exhaustive

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// yearProcesses is how many run on the store at a time.
const yearProcesses = 4

// TestYear lets a year pass for four processes with a scheduler each, on one store, with
// plugins, and kills one of them now and then: each occasion is served once, none early,
// none later than the clock's steps make it, and none in a blackout.
func TestYear(t *testing.T) {
	y := newYear(t)
	random := rand.New(rand.NewPCG(*seed, 1))
	steps := int(time.Duration(*yearDays) * day / yearStep)
	killAt := make(map[int]bool)
	for len(killAt) < *yearKills {
		killAt[1+random.IntN(steps)] = true
	}
	inWork := 0
	for step := 1; step <= steps; step++ {
		y.now = y.now.Add(yearStep)
		victim := -1
		if killAt[step] {
			victim = random.IntN(yearProcesses)
		}
		for _, h := range y.hands {
			h.Say(fmt.Sprint(y.now.UnixMicro()))
		}
		if victim >= 0 {
			<-time.After(time.Duration(random.IntN(15_000)) * time.Microsecond)
			if y.kill(victim) {
				inWork++
			}
		}
		y.await()
	}
	for _, h := range y.hands {
		h.Stop()
		if state, stderr := h.Wait(); state != procs.Succeeded {
			t.Fatalf("a process that was told to end: %s\n%s", state, stderr)
		}
	}
	orphans(t, time.Now())
	y.judge(inWork)
}

// year is the store, and the processes on it.
type year struct {
	*testing.T
	*scene
	plans []plan
	hands []*procs.Child
	now   time.Time
}

func newYear(t *testing.T) *year {
	y := &year{T: t, scene: new(scene), plans: yearPlans(), now: yearStart}
	y.dir, y.config = newConfig(t)
	kr, err := core.Opener{Clock: clockwork.NewFakeClockAt(yearStart), CreateStore: true}.Open(t.Context(), y.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range y.plans {
		if _, err := kr.CreateKey(t.Context(), p.key, core.KeyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	for range yearProcesses {
		y.hands = append(y.hands, y.hire())
	}
	return y
}

func (y *year) hire() *procs.Child {
	y.Helper()
	encoded, err := json.Marshal(yearJob{Config: y.config, Now: y.now})
	if err != nil {
		y.Fatal(err)
	}
	return procs.Start(y.T, nil, yearVariable+"="+string(encoded))
}

// kill ends a process at once and starts another, which has the same step before it.
// It reports whether the process was at work.
func (y *year) kill(n int) (atWork bool) {
	y.Helper()
	y.hands[n].Kill()
	atWork = true
	for {
		line, ok := y.hands[n].Next()
		if !ok {
			break
		}
		if strings.HasPrefix(line, "failed") {
			y.Error(line)
		}
		atWork = false
	}
	y.hands[n] = y.hire()
	y.hands[n].Say(fmt.Sprint(y.now.UnixMicro()))
	return atWork
}

// await waits until every process has done what was due.
func (y *year) await() {
	y.Helper()
	want := fmt.Sprintf("at %d", y.now.UnixMicro())
	for _, h := range y.hands {
		line, ok := h.Next()
		if !ok {
			state, stderr := h.Wait()
			y.Fatalf("a process ended by itself: %s\n%s", state, stderr)
		}
		if line != want {
			y.Fatalf("a process says %q, want %q", line, want)
		}
	}
}

// judge holds the history against the policies.
func (y *year) judge(inWork int) {
	y.Helper()
	kr := y.open(y.T, core.Opener{})
	st, err := sqlite.Open(y.Context(), sqlite.Config{Path: kr.Config.Storage.Path})
	if err != nil {
		y.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	total, foreseen := 0, 0
	for _, p := range y.plans {
		rotations := y.historyOf(st, p)
		total += len(rotations)
		want := y.replay(p, rotations)
		foreseen += want
		y.Logf("  %s: %3d rotations, %s", p.key, len(rotations), describe(p))
		if p.fixed && len(rotations) != want {
			y.Errorf("YEAR: %s rotated %d times, and its policy foresees %d: %s", p.key, len(rotations), want, p.policy.Description())
		}
		if p.policy == nil && len(rotations) != 0 {
			y.Errorf("YEAR: %s has no policy and rotated %d times", p.key, len(rotations))
		}
	}
	if intents, err := st.Intents(y.Context()); err != nil || len(intents) > yearProcesses {
		y.Errorf("YEAR: claims left behind: %+v, %v", intents, err)
	}
	y.Logf("  %d days, %d keys, %d processes, %d kills (%d at work): %d rotations, each occasion once",
		*yearDays, len(y.plans), yearProcesses, *yearKills, inWork, total)
	if total == 0 || foreseen == 0 {
		y.Error("YEAR: nothing rotated")
	}
}

func describe(p plan) string {
	if p.policy == nil {
		return "no policy"
	}
	return p.policy.Description()
}

// historyOf answers the rotations of a key, the oldest first. None may have failed.
func (y *year) historyOf(st *sqlite.Store, p plan) (rotations []history.Event) {
	y.Helper()
	for q := (history.Query{Key: p.key, Limit: store.MaxEvents}); ; {
		page, err := st.Events(y.Context(), q)
		if err != nil {
			y.Fatal(err)
		}
		for _, raw := range page.Events {
			e, err := history.Decode(raw)
			if err != nil {
				y.Fatal(err)
			}
			if e.Type == history.Rotation {
				rotations = append([]history.Event{e}, rotations...)
			}
			if e.Type == history.RotationFailed {
				y.Errorf("YEAR: %s: a rotation failed: %s", p.key, e.ErrorCode)
			}
		}
		if q.Before = page.Next; q.Before == 0 {
			return rotations
		}
	}
}

// replay asks the policy about each rotation: whether it was due then, on that occasion,
// and not a step and more before. It answers how many the policy foresees in all.
func (y *year) replay(p plan, rotations []history.Event) int {
	y.Helper()
	if p.policy == nil {
		return 0
	}
	key := policy.Key{Name: p.key, Created: yearStart, Version: 1, Rotated: yearStart, Activated: yearStart, HardLimit: 1 << 32}
	served := make(map[string]bool)
	foreseen := 0
	for range policy.Simulate([]policy.Policy{p.policy}, key, yearStart, y.now.Add(time.Second), 0) {
		foreseen++
	}
	for _, e := range rotations {
		slot := e.Details["slot"]
		if served[slot] {
			y.Errorf("YEAR: %s: occasion %s was served twice", p.key, slot)
		}
		served[slot] = true
		if p.quiet != nil && p.quiet(e.Time) {
			y.Errorf("YEAR: %s rotated at %s, in a blackout", p.key, e.Time)
		}
		if !p.uses {
			y.onTime(p, key, e)
		}
		key.Version, key.Rotated, key.Activated = e.Version, e.Time, e.Time
	}
	if !p.uses {
		if d := p.policy.Decide(key, y.now.Add(-2*yearStep)); d.Due {
			y.Errorf("YEAR: %s is due since %s, and was not rotated: %s", p.key, d.Since, d.Why)
		}
	}
	return foreseen
}

func (y *year) onTime(p plan, key policy.Key, e history.Event) {
	y.Helper()
	if d := p.policy.Decide(key, e.Time); !d.Due || d.Slot != e.Details["slot"] || string(d.Reason) != e.Reason {
		y.Errorf("YEAR: %s rotated at %s for %s, %s, and its policy says %+v", p.key, e.Time, e.Reason, e.Details["slot"], d)
	}
	if d := p.policy.Decide(key, e.Time.Add(-2*yearStep)); d.Due && e.Time.Add(-2*yearStep).After(key.Rotated) {
		y.Errorf("YEAR: %s rotated at %s, and was due since %s", p.key, e.Time, d.Since)
	}
}
