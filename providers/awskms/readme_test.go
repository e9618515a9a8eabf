package awskms

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/page"
)

// TestReference keeps the page's list of attributes in step with the schema.
func TestReference(t *testing.T) {
	page.Holds(t, "<!-- The rest of this section is made from the schema: go test ./providers/awskms -run Reference -update -->\n",
		"<!-- end -->\n", page.Reference(Schema()))
}

// TestErrorTable keeps the page's list of errors in step with the rules.
func TestErrorTable(t *testing.T) {
	page.Holds(t, "<!-- The table is made from rules.go: go test ./providers/awskms -run ErrorTable -update -->\n",
		"<!-- end of errors -->\n", errorTable())
}

func errorTable() string {
	var w strings.Builder
	w.WriteString("\n| code | errors of AWS |\n|---|---|\n")
	for _, code := range provider.Codes() {
		var names []string
		for name, r := range rules() {
			if r.code == code {
				names = append(names, "`"+name+"`")
			}
		}
		slices.Sort(names)
		if len(names) > 0 {
			fmt.Fprintf(&w, "| `%s` | %s |\n", string(code), strings.Join(names, ", "))
		}
	}
	w.WriteString("\n")
	return w.String()
}
