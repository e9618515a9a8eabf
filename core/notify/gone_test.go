package notify_test

import (
	"os/exec"
	"testing"

	"github.com/keyrotor/keyrotor/core/rotation"
)

// goneOwner names a process of this machine that has ended.
func goneOwner(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	owner := rotation.CurrentOwner()
	owner.PID = cmd.Process.Pid
	if !owner.Gone() {
		t.Skip("this system does not tell that a process has ended")
	}
	return owner.String()
}
