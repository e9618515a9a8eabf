package e2e

import (
	"syscall"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// TestPluginKilledInMidRotation kills the plugin at each step before the commit;
// the rotation ends well all the same, with another process.
func TestPluginKilledInMidRotation(t *testing.T) {
	s := newScene(t, "payments")
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
