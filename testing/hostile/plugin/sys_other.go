//go:build !unix

package main

import "syscall"

// detached does nothing: there are no such groups here.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// stop waits for ever, where no process can be stopped.
func stop() { select {} }
