//go:build !linux

package secret

// ForbidDumps does nothing: the calls that it needs are Linux's own.
func ForbidDumps() error { return nil }
