//go:build exhaustive

package main

import "testing"

// TestExhaustiveScripts go through every refusal and every form of answer of commands whose
// main job testing/secrets does in the usual tier.
func TestExhaustiveScripts(t *testing.T) {
	runScripts(t, "exhaustive", builtKeyrotor(t))
}
