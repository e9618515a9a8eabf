//go:build unix

package hostile

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/rotation"
)

const inTime = "the plugin did not answer in time: context deadline exceeded"

func pid(t *testing.T, kr *core.Keyrotor) int {
	t.Helper()
	pid, ok := kr.Catalog.PID("prod")
	if !ok {
		t.Fatal("no plugin runs")
	}
	return pid
}

// state is the letter that Linux has for the state of a process, or 0 where that is
// unknown.
func state(pid int) byte {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return state[0]
}

func stopped(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "the plugin stopped", func() bool { s := state(pid); return s == 'T' || s == 0 })
}

// TestCrashes: a crash is tried again where that is safe, and then said.
func TestCrashes(t *testing.T) {
	t.Parallel()
	for fault, status := range map[string]string{"crash": "exit status 3", "stray-panic": "exit status 2"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			kr := s.open()
			before := s.calls("prod", "GenerateDataKey")
			s.fault("prod", "GenerateDataKey "+fault)
			s.refuses(t.Context(), kr, payments, "plugin_crashed",
				said("prod", "GenerateDataKey")+"PLUGIN_CRASHED: the plugin is gone, its process ended: "+status)
			if n := s.calls("prod", "GenerateDataKey") - before; n != 3 {
				t.Errorf("the plugin was asked %d times, want 3", n)
			}
			s.readable(kr)
			s.fault("prod", none)
			s.rotates(kr, payments)
			s.readable(kr)
		})
	}
}

// TestSlowAnswer: a call that hangs ends when its time is over. The plugin is asked
// whether it lives, says so, and stays.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	kr := s.open()
	s.readable(kr)
	was := pid(t, kr)
	s.fault("prod", "Unwrap hang")
	d := newDeadline(t)
	wait := s.during(d, "prod", "Unwrap", func() {})
	s.refuses(d, kr, payments, "timeout", proving("prod")+inTime)
	wait()
	s.readable(kr)
	s.fault("prod", none)
	s.rotates(kr, payments)
	s.readable(kr)
	if now := pid(t, kr); now != was {
		t.Errorf("process %d was replaced by %d, although it answers", was, now)
	}
}

// TestStoppedInMidCall: SIGSTOP arrives while a wrap is proved. Once the process goes
// on, so does everything.
func TestStoppedInMidCall(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	kr := s.open()
	s.readable(kr)
	pid := pid(t, kr)
	s.fault("prod", "Unwrap stop")
	d := newDeadline(t)
	wait := s.during(d, "prod", "Unwrap", func() { stopped(t, pid) })
	s.refuses(d, kr, payments, "timeout", proving("prod")+inTime)
	wait()
	s.readable(kr)
	s.fault("prod", none)
	must(t, syscall.Kill(pid, syscall.SIGCONT))
	s.rotates(kr, payments)
	s.readable(kr)
}

// TestStoppedWhileIdle: SIGSTOP arrives between two calls, and nobody continues the
// process. The next call runs out of time, and then the process is replaced.
func TestStoppedWhileIdle(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	d := newDeadline(t)
	kr := s.openWith(core.Opener{OnStep: func(_ string, step rotation.Step) {
		if step == rotation.StepIntent {
			// Long enough for a plugin that is not stopped to answer.
			time.AfterFunc(300*time.Millisecond, d.pass)
		}
	}})
	s.readable(kr)
	was := pid(t, kr)
	must(t, syscall.Kill(was, syscall.SIGSTOP))
	stopped(t, was)
	s.refuses(d, kr, payments, "timeout", said("prod", "GenerateDataKey")+inTime)
	s.readable(kr)
	eventually(t, "the stopped plugin is killed", func() bool {
		now, running := kr.Catalog.PID("prod")
		return !running || now != was
	})
	after := s.open() // the first one's OnStep has done its part
	s.rotates(after, payments)
	s.readable(after)
}

// TestChangedBinary: what replaces the plugin's file does not run. The process that
// runs already is the one that was pinned.
func TestChangedBinary(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	kr := s.open()
	pinned, err := os.ReadFile(s.plugin())
	must(t, err)
	changed := append(slices.Clip(pinned), 0)
	must(t, os.WriteFile(s.plugin()+".new", changed, 0o700))
	must(t, os.Rename(s.plugin(), s.plugin()+".pinned"))
	must(t, os.Rename(s.plugin()+".new", s.plugin()))
	file, err := catalog.Find(s.path("plugins"), "faulty")
	must(t, err)
	hash := func(b []byte) string { h := sha256.Sum256(b); return "sha256:" + hex.EncodeToString(h[:]) }
	want := `plugin "faulty" was not started: ` + file + " is not the binary that plugins.lock pins: expected " + hash(pinned) + ", found " + hash(changed) +
		". If you replaced it on purpose, review it, then run `keyrotor plugin lock faulty`"
	err = s.refusal(t.Context(), kr, payments, "internal", said("prod", "GenerateDataKey")+want)
	if !is[*catalog.MismatchError](err) {
		t.Errorf("%#v is no mismatch", err)
	}
	if _, running := kr.Catalog.PID("prod"); running {
		t.Error("the changed binary runs")
	}
	must(t, os.Rename(s.plugin()+".pinned", s.plugin()))
	s.rotates(kr, payments)
	s.readable(kr)

	must(t, os.WriteFile(s.plugin()+".new", changed, 0o700))
	must(t, os.Rename(s.plugin()+".new", s.plugin()))
	s.rotates(kr, payments)
	must(t, syscall.Kill(pid(t, kr), syscall.SIGKILL))
	err = s.refusal(t.Context(), kr, payments, "internal", said("prod", "GenerateDataKey")+want)
	if !is[*catalog.MismatchError](err) {
		t.Errorf("after the end of the process that ran: %#v is no mismatch", err)
	}
	s.readable(kr)
}

// TestEndlessLogLine: a line without end on both streams holds up nothing, and is cut.
func TestEndlessLogLine(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	kr := s.open()
	s.fault("prod", "GenerateDataKey endless-line")
	for range 3 {
		s.rotates(kr, payments)
	}
	cut := func() int { return strings.Count(s.log.String(), "cut_after_bytes=16384") }
	eventually(t, "both lines are cut", func() bool { return cut() == 2 })
	s.rotates(kr, payments)
	s.fault("prod", none)
	eventually(t, "the end of the line", func() bool { return strings.Contains(s.log.String(), "the line has ended") })
	if n := cut(); n != 2 || len(s.log.String()) > 100<<10 {
		t.Errorf("%d lines were cut, and %d bytes are in the log", n, len(s.log.String()))
	}
	s.rotates(kr, payments)
	s.readable(kr)
}
