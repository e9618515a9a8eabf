package rotation

import (
	"os/exec"
	"runtime"
	"testing"
)

func TestOwner(t *testing.T) {
	me := CurrentOwner()
	if got := ParseOwner(me.String()); got != me {
		t.Errorf("ParseOwner(%q) = %+v", me, got)
	}
	if me.Gone() || me.Runs() != (runtime.GOOS == "linux") {
		t.Errorf("this process is gone: %v; runs: %v", me.Gone(), me.Runs())
	}
	for _, s := range []string{"", "x", "a/b/c", "host/1", "host/1/2/3", "somebody"} {
		if o := ParseOwner(s); o.Gone() || o.Runs() {
			t.Errorf("%q is gone: %v; runs: %v", s, o.Gone(), o.Runs())
		}
	}
	if runtime.GOOS != "linux" {
		return // elsewhere no process is ever seen to be gone
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := startTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := Owner{Machine: me.Machine, PID: cmd.Process.Pid, Start: start}
	if other.Gone() {
		t.Error("a live process is gone")
	}
	reused := other
	reused.Start += "0"
	if !reused.Gone() {
		t.Error("a process that had the same PID is not gone")
	}
	elsewhere := reused
	elsewhere.Machine = "another boot"
	if elsewhere.Gone() || elsewhere.Runs() {
		t.Error("of a process of another machine it is known whether it runs")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !other.Gone() || other.Runs() {
		t.Error("a killed process is not gone")
	}
}
