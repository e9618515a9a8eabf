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
