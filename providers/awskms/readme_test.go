package awskms

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

var update = flag.Bool("update", false, "write the reference in README.md anew")

const begin, end = "<!-- The rest of this section is made from the schema: go test ./providers/awskms -run Reference -update -->\n", "<!-- end -->\n"

// TestReference keeps the page's list of attributes in step with the schema.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("README.md lacks %q or %q", begin, end)
	}
	want := reference()
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("README.md has\n%s\nand the schema\n%s\nRun go test ./providers/awskms -run Reference -update", got, want)
	}
	if err := os.WriteFile("README.md", []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

const beginErrors, endErrors = "<!-- The table is made from rules.go: go test ./providers/awskms -run ErrorTable -update -->\n", "<!-- end of errors -->\n"

// TestErrorTable keeps the page's list of errors in step with the rules.
func TestErrorTable(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), beginErrors)
	got, after, closed := strings.Cut(rest, endErrors)
	if !found || !closed {
		t.Fatalf("README.md lacks %q or %q", beginErrors, endErrors)
	}
	want := errorTable()
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("README.md has\n%s\nand rules.go\n%s\nRun go test ./providers/awskms -run ErrorTable -update", got, want)
	}
	if err := os.WriteFile("README.md", []byte(before+beginErrors+want+endErrors+after), 0o644); err != nil {
		t.Fatal(err)
	}
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

func reference() string {
	var w strings.Builder
	table(&w, Schema().Attributes)
	w.WriteString("\n")
	return w.String()
}

func table(w *strings.Builder, attributes []provider.Attribute) {
	w.WriteString("\n| attribute | type | default | meaning |\n|---|---|---|---|\n")
	for _, a := range attributes {
		def := ""
		switch {
		case a.Required:
			def = "required"
		case a.Default != nil:
			def = fmt.Sprintf("`%v`", a.Default)
		}
		typ := string(a.Type)
		if a.Sensitive {
			typ += ", sensitive"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", a.Name, typ, def, a.Doc)
	}
}
