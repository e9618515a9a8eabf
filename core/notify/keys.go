package notify

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// keyPattern is a key's name in which * may stand for any part, also for none.
var keyPattern = regexp.MustCompile(`^[a-z0-9*][a-z0-9.*-]{0,62}$`)

// CheckKey refuses what can select no key: neither a key's name nor one in which * stands
// for any part.
func CheckKey(pattern string) error {
	if !keyPattern.MatchString(pattern) {
		return fmt.Errorf("%q can be the name of no key: write a name, or a part of it with * for the rest, such as \"shop-*\"", pattern)
	}
	if !strings.Contains(pattern, "*") {
		return keyring.CheckName(pattern)
	}
	return nil
}

// selects reports whether any of the patterns is for the key.
func selects(patterns []string, key string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, key) })
}

// matches is for names without line breaks and slashes, which those of keys are. It tries
// no more than each place once for each part.
func matches(pattern, key string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == key
	}
	rest, ok := strings.CutPrefix(key, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
