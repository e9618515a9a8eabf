package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// crew is how many processes there are at a time.
const crew = 4

// scene is a configuration that processes are killed over.
type scene struct {
	dir, config string
	keys        []string
	// hired counts the workers so far; each has a file of tokens, see tokensOf.
	hired int
}

func newScene(t *testing.T, keys ...string) *scene {
	t.Helper()
	s := &scene{keys: keys}
	s.dir, s.config = newConfig(t)
	kr, err := core.Open(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if _, err := kr.CreateKey(t.Context(), key, core.KeyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens the configuration for the rest of the test.
func (s *scene) open(t *testing.T, o core.Opener) *core.Keyrotor {
	t.Helper()
	kr, err := o.Open(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	})
	return kr
}

// tokensOf is the file of the worker of a number, from 0.
func (s *scene) tokensOf(n int) string {
	return filepath.Join(s.dir, fmt.Sprintf("tokens.%d", n))
}

// files are those of the workers from one number to before another.
func (s *scene) files(from, to int) []string {
	var paths []string
	for n := from; n < to; n++ {
		paths = append(paths, s.tokensOf(n))
	}
	return paths
}

// hand is a worker as its boss sees it.
type hand struct {
	*procs.Child
	number int

	mu      sync.Mutex
	told    told
	changed chan struct{} // closed at each line, and replaced
	aim     *aim
}

// told is what a worker said so far.
type told struct {
	owner     string
	encrypted bool
	last      rotation.Step
	steps     map[rotation.Step]int
	failed    int // encryptions
	rotated   int
	refused   map[string]int // by code
}

// hire starts a worker.
func (s *scene) hire(t *testing.T, killAt rotation.Step) *hand {
	t.Helper()
	h := &hand{number: s.hired, changed: make(chan struct{}), told: told{
		steps: map[rotation.Step]int{}, refused: map[string]int{},
	}}
	s.hired++
	encoded, err := json.Marshal(job{
		Config: s.config, Keys: s.keys, Tokens: s.tokensOf(h.number),
		Seed: *seed + uint64(h.number), KillAt: killAt,
	})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	h.Child = procs.Start(t, func(line string) {
		<-ready // h.Child is set
		h.hear(t, line)
	}, workerVariable+"="+string(encoded))
	close(ready)
	return h
}

// hear takes one line in, and acts if the worker has reached the aim.
func (h *hand) hear(t *testing.T, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fields := strings.Fields(line + " ?")
	switch value := fields[1]; fields[0] {
	case "owner":
		h.told.owner = value
	case "encrypted":
		h.told.encrypted = true
	case "failed":
		h.told.failed++
		t.Errorf("ENCRYPTION: %s", line)
	case "step":
		h.told.last = rotation.Step(value)
		h.told.steps[h.told.last]++
		if h.aim != nil && h.aim.step == h.told.last {
			h.hit()
		}
	case "rotated":
		h.told.rotated++
	case "refused":
		h.told.refused[value]++
	default:
		t.Errorf("the worker says %q", line)
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// patience is how long a worker may take to get anywhere, on a machine that is
// slow and with a plugin that it has to give up.
const patience = time.Minute

// now answers what the worker told so far.
func (h *hand) now() (now told, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now = h.told
	now.steps, now.refused = maps.Clone(now.steps), maps.Clone(now.refused)
	return now, h.changed
}

// until waits until what the worker told satisfies a condition.
func (h *hand) until(t *testing.T, condition func(told) bool) told {
	t.Helper()
	deadline := time.After(patience)
	for {
		now, changed := h.now()
		if condition(now) {
			return now
		}
		select {
		case <-changed:
		case <-h.Ended():
			state, stderr := h.Wait()
			t.Fatalf("a worker ended by itself: %s\n%s", state, stderr)
		case <-deadline:
			t.Fatalf("for %s a worker told nothing new: %+v", patience, now)
		}
	}
}

// aim is something to do once, as soon as a worker says that it reached a step, or
// when some time has passed.
type aim struct {
	step rotation.Step // or empty
	wait time.Duration
	act  func()
	hit  chan struct{}
}

// aimPatience is how long a worker is waited for to reach a step: it may have to
// wait for others first.
const aimPatience = 5 * time.Second

// drawAim aims half of the time at a step that is followed by the commit, and else
// at any moment.
func drawAim(random *rand.Rand, act func()) *aim {
	a := &aim{act: act, hit: make(chan struct{})}
	if random.IntN(2) == 0 {
		a.step, a.wait = committing[random.IntN(len(committing))], aimPatience
	} else {
		a.wait = time.Duration(random.IntN(60_000)) * time.Microsecond
	}
	return a
}

// take waits until the aim was hit.
func (h *hand) take(a *aim) {
	h.mu.Lock()
	h.aim = a
	h.mu.Unlock()
	select {
	case <-a.hit:
	case <-time.After(a.wait):
		h.mu.Lock()
		defer h.mu.Unlock()
		h.hit()
	}
}

// hit acts once; the caller holds mu.
func (h *hand) hit() {
	if h.aim != nil {
		h.aim.act()
		close(h.aim.hit)
		h.aim = nil
	}
}

// fell waits for the end of a worker that was killed, and answers what it told.
func (h *hand) fell(t *testing.T) told {
	t.Helper()
	if state, stderr := h.Wait(); state != procs.Killed {
		t.Fatalf("a worker was not killed but ended by itself: %s\n%s", state, stderr)
	}
	return h.told
}

// dismiss has a worker end by itself, and answers what it told.
func (h *hand) dismiss(t *testing.T) told {
	t.Helper()
	h.Stop()
	if state, stderr := h.Wait(); state != procs.Succeeded {
		t.Fatalf("a worker that was told to end: %s\n%s", state, stderr)
	}
	return h.told
}

// committing are the steps after which a rotation still exists in memory only.
var committing = []rotation.Step{rotation.StepIntent, rotation.StepGenerated, rotation.StepWrapped, rotation.StepProved}
