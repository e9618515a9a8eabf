//go:build !unix

package notify

import "os/exec"

// ownGroup has a command killed when its time is over. What it started stays.
func ownGroup(*exec.Cmd) {}
