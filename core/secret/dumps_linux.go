package secret

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ForbidDumps keeps the process's memory out of core files and from debuggers of
// the same user. A process that holds secrets calls it first. Programs that it
// starts inherit the limit on core files alone.
func ForbidDumps() error {
	var errs []error
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("setting the core file limit to zero: %w", err))
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("making the process non-dumpable: %w", err))
	}
	return errors.Join(errs...)
}

// DumpsForbidden reports whether the process is as ForbidDumps leaves it.
func DumpsForbidden() (bool, error) {
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
		return false, fmt.Errorf("reading the core file limit: %w", err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return false, fmt.Errorf("asking whether the process is dumpable: %w", err)
	}
	return core.Cur == 0 && dumpable == 0, nil
}
