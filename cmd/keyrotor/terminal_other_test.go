//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// onTerminal is for Linux; terminal.txtar says so, too.
func onTerminal(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("pseudo-terminals are opened as Linux does it")
}
