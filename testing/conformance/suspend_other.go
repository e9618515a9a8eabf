//go:build !unix

package conformance

import "errors"

const canSuspend = false

func shortTempDir() string { return "" }

func suspend(int) error { return errors.ErrUnsupported }

func kill(int) error { return errors.ErrUnsupported }
