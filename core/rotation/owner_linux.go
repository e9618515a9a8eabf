package rotation

import (
	"bytes"
	"fmt"
	"os"
	"strings"
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

// startTime is field 22 of /proc/PID/stat: clock ticks since boot. A zombie has
// ended and counts as not existing.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// Field 2, the command, is in parentheses and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("rotation: /proc/%d/stat has an unknown form", pid)
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return "", os.ErrNotExist
	}
	return string(fields[19]), nil
}
