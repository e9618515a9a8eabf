// Package page keeps what a provider's page says in step with the code that it is about:
// a section between two marks is made from the code, and a test compares it.
package page

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

var update = flag.Bool("update", false, "write what is made from the code into README.md anew")

// Holds fails t unless README.md has this text between the marks, or puts it there if the
// test runs with -update.
func Holds(t *testing.T, begin, end, want string) {
	t.Helper()
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("README.md lacks %q or %q", begin, end)
	}
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("README.md has\n%s\nand the code\n%s\nRun this test with -update", got, want)
	}
	if err := os.WriteFile("README.md", []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Reference lists the attributes of a schema, and those of each block.
func Reference(schema provider.Schema) string {
	var w strings.Builder
	table(&w, schema.Attributes)
	for _, b := range schema.Blocks {
		fmt.Fprintf(&w, "\n`%s %q` — %s\n", b.Type, b.Labels[0], b.Body.Doc)
		table(&w, b.Body.Attributes)
	}
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
