package rotation

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// machine is the boot and the PID namespace: within both, a PID means one process.
func machine() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "-" + strings.Trim(strings.TrimPrefix(namespace, "pid:"), "[]")
}

// startTime is when a process started, in clock ticks since boot.
func startTime(pid int) (string, error) {
	start, _, err := stat(pid)
	return start, err
}

// ended reports whether the process of a PID and start time is known to be over.
func ended(pid int, started string) bool {
	start, over, err := stat(pid)
	if errors.Is(err, fs.ErrNotExist) {
		// /proc may be mounted to hide other users' processes; the kernel tells.
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	return err == nil && (over || start != started)
}

// stat reads fields 3 and 22 of /proc/PID/stat. A zombie is over.
func stat(pid int) (start string, over bool, err error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false, err
	}
	// Field 2, the command, is in parentheses and may hold anything.
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 20 {
		return "", false, fmt.Errorf("rotation: /proc/%d/stat has an unknown form", pid)
	}
	return string(fields[19]), fields[0][0] == 'Z' || fields[0][0] == 'X', nil
}
