package e2e

import (
	"context"
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
