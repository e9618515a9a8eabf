package secret_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keyrotor/keyrotor/core/secret"
)

// TestForbidDumps runs itself in a process of its own, since there is no way back.
func TestForbidDumps(t *testing.T) {
	if os.Getenv("KEYROTOR_TEST_DUMPS") != "" {
		var core unix.Rlimit
		before, beforeErr := secret.DumpsForbidden()
		err := secret.ForbidDumps()
		after, afterErr := secret.DumpsForbidden()
		limitErr := unix.Getrlimit(unix.RLIMIT_CORE, &core)
		dumpable, dumpErr := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		fmt.Println(err, limitErr, dumpErr, core.Cur, core.Max, dumpable)
		fmt.Println(before, beforeErr, after, afterErr)
		os.Exit(0)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestForbidDumps$")
	cmd.Env = append(os.Environ(), "KEYROTOR_TEST_DUMPS=1")
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "<nil> <nil> <nil> 0 0 0\nfalse <nil> true <nil>\n" {
		t.Errorf("got %q, %v; want no errors, no core files, not dumpable, and to be told so", out, err)
	}
}
