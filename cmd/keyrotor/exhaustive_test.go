//go:build exhaustive

package main

import "testing"

// TestExhaustiveScripts go through every refusal and every form of answer of commands. What
// most of these do at all, testing/secrets sees in the usual tier.
func TestExhaustiveScripts(t *testing.T) {
	runScripts(t, "exhaustive", builtKeyrotor(t))
}

// TestConcurrentScripts are of what does several things at a time: they run this test
// binary, which the race detector looks at if there is one.
func TestConcurrentScripts(t *testing.T) {
	runScripts(t, "concurrent", "")
}
