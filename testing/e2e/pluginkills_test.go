//go:build exhaustive

package e2e

import (
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/procs"
)

const (
	// endsPerHost is how often one host's plugin is made to end. One that ends more
	// often than its budget within seconds is left alone for a while, on purpose.
	endsPerHost = 3
	// stopEvery so many times a plugin is stopped for a moment before it is killed.
	stopEvery = 5
	// freezeEvery so many times it is stopped instead and does not go on. Whoever
	// calls it waits for a deadline of seconds, so the short form does without.
	freezeEvery = 20
)

// siege is one worker and what became of its plugins.
type siege struct {
	*hand
	ends    int
	last    int // the process that ended last
	rotated int // told when that was
}

// plugin answers the process that the worker has now; 0 if it has none that is new
// and has done a rotation.
func (s *siege) plugin(t *testing.T, now told) int {
	t.Helper()
	if !now.encrypted || now.rotated == s.rotated {
		return 0
	}
	list, err := procs.Plugins(pluginDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Parent == s.PID() && p.PID != s.last {
			return p.PID
		}
	}
	return 0
}

// raid kills plugins, and keeps count.
type raid struct {
	*scene
	random *rand.Rand
	crew   []*siege

	strikes, killed, rotating, stopped, frozen int
	hosts, rotated, failed                     int
	refused                                    map[string]int
}

// TestPluginKills kills the plugins of four hosts that encrypt and rotate. No
// encryption fails; a rotation that does says so by a code.
func TestPluginKills(t *testing.T) {
	r := &raid{
		scene: newScene(t, "payments", "orders", "mail", "sessions"), refused: map[string]int{},
		random: rand.New(rand.NewPCG(*seed, 1)),
	}
	for range crew {
		r.crew = append(r.crew, r.post(t))
	}
	for r.killed < *pluginKills {
		i := r.strike(t)
		if r.crew[i].ends == endsPerHost {
			r.relieve(t, r.crew[i])
			r.crew[i] = r.post(t)
		}
	}
	for _, s := range r.crew {
		r.relieve(t, s)
	}
	left, _ := orphans(t, time.Now())
	all := r.openFrom(t, 0)
	st := r.openStore(t)
	sum := r.audit(t, st, all.returned)
	if list, err := st.Intents(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("INTENT: after a clean end of every worker there are %+v, %v", list, err)
	}
	if r.rotated == 0 || r.rotating == 0 {
		t.Errorf("%d rotations were answered, %d plugins killed during one: the test shows nothing", r.rotated, r.rotating)
	}
	rows := []row{
		{"SIGKILLs of plugins, of four hosts at once", r.killed},
		{"  in mid-rotation", r.rotating},
		{"plugins stopped, and continued later", r.stopped},
		{"plugins stopped for good", r.frozen},
		{"hosts, each ended cleanly", r.hosts},
		{"  plugins left behind", left},
		{"encryptions that failed", r.failed},
		{"tokens returned", all.total},
		{"  opened at the end", all.total - all.lost},
		{"  lost", all.lost},
		{"  uses booked", sum.booked},
		{"rotations answered", r.rotated},
		{"rotations that failed, recorded", sum.failures},
	}
	for _, code := range slices.Sorted(maps.Keys(r.refused)) {
		rows = append(rows, row{"  answered with " + code, r.refused[code]})
	}
	report(t, "plugins", rows)
}

func (r *raid) post(t *testing.T) *siege {
	t.Helper()
	r.hosts++
	return &siege{hand: r.hire(t, "")}
}

// strike does something to the plugin of one worker, and answers which worker.
func (r *raid) strike(t *testing.T) (struck int) {
	t.Helper()
	struck, pid := r.ready(t)
	s := r.crew[struck]
	r.strikes++
	if r.strikes%stopEvery == 0 {
		r.send(t, pid, syscall.SIGSTOP)
		<-time.After(time.Duration(r.random.IntN(500)) * time.Millisecond)
		r.send(t, pid, syscall.SIGCONT)
		r.stopped++
	}
	if r.strikes%freezeEvery == 0 && *pluginKills >= longForm {
		r.send(t, pid, syscall.SIGSTOP)
		r.frozen++
	} else {
		r.kill(t, s, pid)
	}
	now, _ := s.now()
	s.ends, s.last, s.rotated = s.ends+1, pid, now.rotated
	return struck
}

// ready finds a worker that has rotated with the plugin that it has now.
func (r *raid) ready(t *testing.T) (i, pid int) {
	t.Helper()
	order := r.random.Perm(len(r.crew))
	for _, i := range order {
		now, _ := r.crew[i].now()
		if pid := r.crew[i].plugin(t, now); pid != 0 {
			return i, pid
		}
	}
	i = order[0]
	r.crew[i].until(t, func(now told) bool {
		pid = r.crew[i].plugin(t, now)
		return pid != 0
	})
	return i, pid
}

// kill ends a plugin.
func (r *raid) kill(t *testing.T, s *siege, pid int) {
	t.Helper()
	s.take(drawAim(r.random, func() {
		r.send(t, pid, syscall.SIGKILL)
		r.killed++
		if slices.Contains(committing, s.told.last) {
			r.rotating++
		}
	}))
}

func (r *raid) send(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Errorf("signal %d to plugin %d: %v", signal, pid, err)
	}
}

// relieve ends a worker cleanly, and takes down what it told.
func (r *raid) relieve(t *testing.T, s *siege) {
	t.Helper()
	told := s.dismiss(t)
	r.rotated, r.failed = r.rotated+told.rotated, r.failed+told.failed
	for code, n := range told.refused {
		r.refused[code] += n
	}
}
