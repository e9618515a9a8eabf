//go:build unix

package main

import (
	"os"
	"syscall"
)

// detached starts a process outside the plugin's group.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// stop stops this process, as if somebody had sent the signal.
func stop() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) }
