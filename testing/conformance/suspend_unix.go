//go:build unix

package conformance

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// canSuspend: the system can stop a process so that no call is answered.
const canSuspend = true

// shortTempDir is where paths are short enough for sockets, whatever TMPDIR says.
func shortTempDir() string { return "/tmp" }

// suspend stops a child of this process. It answers when every thread has stopped.
func suspend(pid int) error {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait for process %d to stop: %w", pid, err)
		case !status.Stopped():
			return fmt.Errorf("process %d ended instead of stopping", pid)
		default:
			return nil
		}
	}
}

// kill ends a process at once, stopped or not.
func kill(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}
