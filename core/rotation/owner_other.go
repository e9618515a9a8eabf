//go:build !linux

package rotation

import "errors"

func machine() string { return "" }

func ended(int, string) bool { return false }

func startTime(int) (string, error) {
	return "", errors.New("rotation: the start time of a process is not known here")
}
