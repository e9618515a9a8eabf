//go:build unix

package catalog

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// ownGroup keeps the plugin out of the terminal's process group, so that Ctrl-C
// reaches the host alone, which then ends its calls in order.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// killGroup ends the process and its children. Nobody there is no error.
func killGroup(p *os.Process) {
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
}

// passLifeline hands over the end of a pipe that the plugin reads until the host
// is gone, however it ended.
func passLifeline(cmd *exec.Cmd, f *os.File) {
	cmd.ExtraFiles = []*os.File{f} // descriptor 3
	cmd.Env = append(cmd.Env, wire.LifelineEnv+"=3")
}
