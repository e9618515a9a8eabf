package reencrypt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const noAccessTime = unix.O_NOATIME

// copyExtended makes the extended attributes of dst those of src, among them the
// access control list, which dst may have inherited from its folder. Labels that
// only the system sets (security., trusted.) are copied where it lets us.
func copyExtended(dst, src *os.File) error {
	want, err := listExtended(src)
	if err != nil {
		return err
	}
	have, err := listExtended(dst)
	if err != nil {
		return err
	}
	for _, name := range have {
		if !slices.Contains(want, name) && !isLabel(name) {
			if err := unix.Fremovexattr(int(dst.Fd()), name); err != nil {
				return fmt.Errorf("cannot drop the inherited attribute %s: %w", name, err)
			}
		}
	}
	for _, name := range want {
		value, err := sized(func(p []byte) (int, error) { return unix.Fgetxattr(int(src.Fd()), name, p) })
		if err == nil {
			err = unix.Fsetxattr(int(dst.Fd()), name, value, 0)
		}
		if err != nil && !isLabel(name) {
			return fmt.Errorf("cannot keep the file's extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func isLabel(name string) bool {
	return strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.")
}

func listExtended(f *os.File) ([]string, error) {
	list, err := sized(func(p []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), p) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the file's extended attributes: %w", err)
	}
	var names []string
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if len(name) > 0 {
			names = append(names, string(name))
		}
	}
	return names, nil
}

// sized calls a function that answers the size it needs to no buffer, and fills
// one of that size. ERANGE: it grew in between.
func sized(call func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := call(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		buf := make([]byte, n)
		n, err = call(buf)
		if !errors.Is(err, unix.ERANGE) {
			return buf[:max(n, 0)], err
		}
	}
}
