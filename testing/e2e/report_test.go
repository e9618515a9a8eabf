package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// row is one line of a report.
type row struct {
	name  string
	value any
}

// report prints what was counted.
func report(t *testing.T, what string, rows []row) {
	t.Helper()
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "\n  %-50s %v", r.name, r.value)
	}
	t.Logf("kills of %s, -seed %d:%s", what, *seed, &b)
}
