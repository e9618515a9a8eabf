package catalog

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps Ctrl-C from the plugin.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// killGroup ends the process; Windows knows no groups of this kind.
func killGroup(p *os.Process) { _ = p.Kill() }

// passLifeline does nothing: Windows passes no descriptors. The plugin ends when
// its connection does.
func passLifeline(*exec.Cmd, *os.File) {}
