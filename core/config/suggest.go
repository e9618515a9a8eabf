package config

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// maxTypos is how many edits apart two names may be to be taken for one another.
const maxTypos = 2

// suggest answers what the author of an unknown name may have meant: the nearest
// of the known ones, or all of them.
func suggest(given string, known []string) string {
	best, distance := "", maxTypos+1
	for _, name := range known {
		if d := levenshtein.Distance(given, name, nil); d < distance && d < len(given) {
			best, distance = name, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) > 0:
		return "known here: " + quoted(known)
	default:
		return ""
	}
}

// quoted lists names for a message.
func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(out, ", ")
}
