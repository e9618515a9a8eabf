//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// detached starts a process outside the plugin's group.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// stop stops this process until somebody continues it. The signal may reach another
// thread first, so this one waits for what comes after it.
func stop() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-continued
}
