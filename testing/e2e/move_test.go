package e2e

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// TestKillRotateKEK kills the process at a step of a KEK's rotation, in the exhaustive tier
// at each. Run again, it goes on: each request rotates once, and all wraps arrive under the
// new version.
func TestKillRotateKEK(t *testing.T) {
	s := newMoveScene(t)
	rotations := 0
	for _, step := range tier.Pick([]string{"kek-rotated"}, []string{"intent", "kek-rotated", "kek-recorded", "proved", "moved"}) {
		s.doKilled(t, jobRotate, step)
		if step == "intent" { // it dies a second time on its way
			s.doKilled(t, jobRotate, "kek-rotated")
		}
		if last := s.do(t, jobRotate); last != "done" {
			t.Errorf("after a kill at %s: %s", step, last)
		}
		rotations++
		s.kekIs(t, rotations, 4)
		s.settled(t)
	}
}

// TestKillMigrate kills the process at a step of a migration, in the exhaustive tier at each,
// there and back. Until the next run finishes it every version can be read.
func TestKillMigrate(t *testing.T) {
	s := newMoveScene(t)
	job, to := jobMigrate, "second"
	for _, step := range tier.Pick([]string{"moved"}, []string{"intent", "widened", "proved", "moved", "retired"}) {
		s.doKilled(t, job, step)
		switch last := s.do(t, job); {
		case last == "done" && step != "retired":
		case last == "overtaken" && step == "retired": // there was nothing left to do
		default:
			t.Errorf("after a kill at %s: %s", step, last)
		}
		sameWrappers(t, s.wrappers(t), to)
		s.settled(t)
		if job, to = jobReturn, "local"; s.wrappers(t)[0] == "local" {
			job, to = jobMigrate, "second"
		}
	}
}

// TestTwoMovers: of two processes that rotate the same KEK at once, one does.
func TestTwoMovers(t *testing.T) {
	s := newMoveScene(t)
	gate := filepath.Join(t.TempDir(), "gate")
	first := s.start(t, jobRotate, "", gate)
	if said := first.next(); said != "step intent" {
		t.Fatalf("the first one says %q\n%s", said, first.Stderr())
	}
	second := s.start(t, jobRotate, "", gate)
	if said := second.next(); said != "step waiting" {
		t.Fatalf("the second one says %q\n%s", said, second.Stderr())
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if last, _ := first.end(t); last != "done" {
		t.Errorf("the first one: %s", last)
	}
	if last, _ := second.end(t); last != "overtaken" {
		t.Errorf("the second one: %s", last)
	}
	s.kekIs(t, 1, 4)
	s.settled(t)

	// Of two that migrate the same key, each does a part, or finds it done.
	migrations := []*mover{s.start(t, jobMigrate, "", ""), s.start(t, jobMigrate, "", "")}
	for _, m := range migrations {
		if last, killed := m.end(t); killed || last != "done" && last != "overtaken" {
			t.Errorf("a migration ended with %q, killed %v", last, killed)
		}
	}
	sameWrappers(t, s.wrappers(t), "second")
	s.settled(t)
	s.open(t, func(kr *core.Keyrotor) {
		if n := s.count(t, kr, history.ProviderRetired); n != 1 {
			t.Errorf("the old provider was retired %d times", n)
		}
	})
}

// TestReadersMeanwhile: other processes read and rotate throughout, those that began
// long ago and those that begin now.
func TestReadersMeanwhile(t *testing.T) {
	s := newMoveScene(t)
	s.open(t, func(old *core.Keyrotor) {
		ctx, stop := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		readers.Go(func() {
			for ctx.Err() == nil {
				s.readable(t.Context(), t)
			}
		})
		readers.Go(func() {
			for ctx.Err() == nil {
				for token, plaintext := range s.tokens {
					if got, err := old.Decrypt(t.Context(), []byte(token), nil); err != nil || string(got) != plaintext {
						t.Errorf("%s opens to %q, %v", token, got, err)
						return
					}
				}
			}
		})
		for _, job := range tier.Pick([]string{jobMigrate, jobReturn}, []string{jobRotate, jobMigrate, jobReturn, jobRotate}) {
			rotated := s.start(t, job, "", "")
			s.rotate(t, old)
			if last, killed := rotated.end(t); killed || last != "done" {
				t.Errorf("%s ended with %q", job, last)
			}
		}
		stop()
		readers.Wait()
	})
	s.settled(t)
	sameWrappers(t, s.wrappers(t), "local")
}
