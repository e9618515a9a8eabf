package sdk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidDumps keeps the process's memory out of core files and from debuggers of
// the same user.
func forbidDumps() error {
	var errs []error
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("setting the core file limit to zero: %w", err))
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("making the process non-dumpable: %w", err))
	}
	return errors.Join(errs...)
}
