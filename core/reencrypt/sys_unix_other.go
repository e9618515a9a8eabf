//go:build unix && !linux

package reencrypt

import "os"

const noAccessTime = 0

func copyExtended(_, _ *os.File) error { return nil }
