package e2e

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// scene is a configuration that workers are killed over.
type scene struct {
	config string
	seen   seen
}

func newScene(t *testing.T) *scene {
	t.Helper()
	config, err := core.Init(t.Context(), filepath.Join(t.TempDir(), "kr"), core.InitOptions{PluginDir: pluginDir})
	if err != nil {
		t.Fatal(err)
	}
	kr, err := core.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	return &scene{config: config, seen: seen{tokens: map[string]string{}, steps: map[string]int{}}}
}

// run starts a worker, has it killed, and answers what it said. With a step it
// kills itself there; otherwise kill is called once it has begun to work, and the
// worker is killed when that returns.
func (s *scene) run(t *testing.T, step rotation.Step, kill func()) seen {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"=1", configVariable+"="+s.config, killAtVariable+"="+string(step))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	now := seen{tokens: map[string]string{}, steps: map[string]int{}}
	lines := bufio.NewReader(stdout)
	begun := false
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		if err := now.add(line[:len(line)-1]); err != nil {
			t.Error(err)
		}
		if kill != nil && !begun && len(now.tokens) > 0 {
			begun = true
			go func() {
				kill()
				_ = cmd.Process.Kill()
			}()
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the worker was not killed but ended by itself: %v\n%s", err, &stderr)
	}
	maps.Copy(s.seen.tokens, now.tokens)
	for step, n := range now.steps {
		s.seen.steps[step] += n
	}
	s.seen.rotated += now.rotated
	return now
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

// check opens what the killed workers left and asserts that nothing is lost.
func (s *scene) check(t *testing.T) (primary uint32) {
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
	lost := 0
	for token, plaintext := range s.seen.tokens {
		got, err := kr.Decrypt(t.Context(), []byte(token), nil)
		if err != nil || string(got) != plaintext {
			lost++
			t.Errorf("%s was answered and opens to %q, %v", token, got, err)
		}
		if lost > 10 {
			t.Fatal("and so on")
		}
	}
	key, err := kr.Describe(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Check(); err != nil {
		t.Errorf("the record breaks the rules: %v", err)
	}
	if _, err := key.PrimaryVersion(); err != nil {
		t.Error(err)
	}
	s.checkHistory(t, kr, len(key.Versions))
	s.checkRows(t)
	return key.Primary
}

// checkHistory: one creation for each version, one rotation for each but the
// first, without gaps.
func (s *scene) checkHistory(t *testing.T, kr *core.Keyrotor, versions int) {
	t.Helper()
	counts := map[history.Type]int{}
	next := uint64(0)
	for q := (history.Query{Limit: 1000}); ; {
		page, err := kr.History(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range page.Events {
			e, err := history.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if next != 0 && e.Seq != next-1 {
				t.Errorf("event %d is followed by %d", e.Seq, next)
			}
			next = e.Seq
			counts[e.Type]++
		}
		if q.Before = page.Next; page.Next == 0 {
			break
		}
	}
	if next != 1 || counts[history.Creation] != versions || counts[history.Rotation] != versions-1 {
		t.Errorf("%d versions; the history begins at %d with %v", versions, next, counts)
	}
}

// checkRows looks past the store's own code.
func (s *scene) checkRows(t *testing.T) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(filepath.Dir(s.config), "keyrotor.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var orphans, primaries int
	err = db.QueryRowContext(t.Context(), `SELECT count(*) FROM wraps AS w
		WHERE NOT EXISTS (SELECT 1 FROM versions AS v WHERE v.key_id = w.key_id AND v.number = w.version)`).Scan(&orphans)
	if err != nil || orphans != 0 {
		t.Errorf("%d wraps belong to no version, %v", orphans, err)
	}
	err = db.QueryRowContext(t.Context(), `SELECT count(*) FROM versions WHERE state = 'active'`).Scan(&primaries)
	if err != nil || primaries != 1 {
		t.Errorf("%d active versions, %v", primaries, err)
	}
	var integrity string
	if err := db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&integrity); err != nil || integrity != "ok" {
		t.Errorf("integrity_check: %s, %v", integrity, err)
	}
}

// TestKillAtEveryStep kills the host at each named step of a rotation once.
func TestKillAtEveryStep(t *testing.T) {
	s := newScene(t)
	primary := s.check(t)
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
		now := s.run(t, c.step, nil)
		if now.steps[string(c.step)] != 1 || now.last != string(c.step) {
			t.Errorf("killed at %s, and the last step was %s", c.step, now.last)
		}
		noPluginsWithin(t, 2*time.Second)
		after := s.check(t)
		if want := primary + map[bool]uint32{true: 1}[c.committed]; after != want {
			t.Errorf("killed at %s: the primary went from %d to %d, want %d", c.step, primary, after, want)
		}
		primary = after
	}
}

// beforeCommit are the steps at which a rotation exists in memory only.
var beforeCommit = []rotation.Step{rotation.StepIntent, rotation.StepGenerated, rotation.StepWrapped, rotation.StepProved}

// kills is how often TestKillAtRandom kills.
const kills = 60

// TestKillAtRandom kills the host at random moments while it encrypts and rotates.
func TestKillAtRandom(t *testing.T) {
	const seed = 20261123
	random := rand.New(rand.NewPCG(seed, 0))
	s := newScene(t)
	inRotation, slowest := 0, time.Duration(0)
	for range kills {
		moment := time.Duration(random.IntN(60_000)) * time.Microsecond
		now := s.run(t, "", func() { <-time.After(moment) })
		if slices.Contains(beforeCommit, rotation.Step(now.last)) {
			inRotation++
		}
		slowest = max(slowest, noPluginsWithin(t, 2*time.Second))
		s.checkRows(t)
	}
	primary := s.check(t)
	if s.seen.rotated == 0 || primary < 2 {
		t.Error("no rotation succeeded between the kills")
	}
	if inRotation == 0 {
		t.Error("no kill fell between intent and commit: the test shows nothing")
	}
	t.Logf("%d kills (seed %d), %d of them between intent and commit; %d tokens, all open; %d rotations answered, primary %d; the last plugin was gone %s after its host",
		kills, seed, inRotation, len(s.seen.tokens), s.seen.rotated, primary, slowest.Round(time.Millisecond))

	// What the last kill left behind holds up nobody.
	kr := s.open(t, core.Opener{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if result, err := kr.Rotate(ctx, "payments", "manual", ""); err != nil || result.Previous != primary {
		t.Errorf("a rotation after the kills: %d, %v", result.Previous, err)
	}
}

// TestPluginKilledInMidRotation kills the plugin at each step before the commit;
// the rotation ends well all the same, with another process.
func TestPluginKilledInMidRotation(t *testing.T) {
	s := newScene(t)
	var kr *core.Keyrotor
	var killAt rotation.Step
	killed := 0
	kr = s.open(t, core.Opener{OnStep: func(_ string, step rotation.Step) {
		if step != killAt {
			return
		}
		if pid, ok := kr.Catalog.PID("local"); ok {
			killed = pid
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}})
	if _, err := kr.Rotate(t.Context(), "payments", "manual", "starts the plugin"); err != nil {
		t.Fatal(err)
	}
	for i, step := range []rotation.Step{rotation.StepIntent, rotation.StepGenerated, rotation.StepWrapped} {
		killAt = step
		result, err := kr.Rotate(t.Context(), "payments", "manual", "")
		if err != nil || result.Primary != uint32(3+i) {
			t.Errorf("plugin killed at %s: primary %d, %v", step, result.Primary, err)
		}
		if pid, ok := kr.Catalog.PID("local"); !ok || pid == killed || killed == 0 {
			t.Errorf("plugin killed at %s: process %d was killed, and %d answers", step, killed, pid)
		}
	}
}
