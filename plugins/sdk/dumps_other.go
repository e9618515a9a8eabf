//go:build !linux

package sdk

// forbidDumps does nothing: the calls that it needs are Linux's own.
func forbidDumps() error { return nil }
