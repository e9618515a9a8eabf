//go:build !linux

package secret

import "errors"

// ForbidDumps does nothing: the calls that it needs are Linux's own.
func ForbidDumps() error { return nil }

// DumpsForbidden cannot tell.
func DumpsForbidden() (bool, error) { return false, errors.ErrUnsupported }
