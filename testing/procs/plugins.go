package procs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Plugin is a process that runs a plugin.
type Plugin struct {
	PID, Parent int
}

// Plugins lists the processes whose binary lies in a plugin directory, from /proc.
func Plugins(dir string) ([]Plugin, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []Plugin
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err != nil || !strings.HasPrefix(exe, dir) {
			continue // another program, or over meanwhile
		}
		if parent, ok := parentOf(pid); ok {
			list = append(list, Plugin{PID: pid, Parent: parent})
		}
	}
	return list, nil
}

// Orphans lists the plugins of a directory whose host is gone: the process that
// they belong to is not of this test binary, as all hosts of a test are.
func Orphans(dir string) ([]int, error) {
	plugins, err := Plugins(dir)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range plugins {
		exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.Parent), "exe"))
		if err != nil || exe != self {
			pids = append(pids, p.PID)
		}
	}
	return pids, nil
}

// parentOf reads field 4 of /proc/PID/stat.
func parentOf(pid int) (int, bool) {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	// Field 2, the command, is in parentheses and may hold anything.
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}
