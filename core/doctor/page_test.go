package doctor

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// checkNames are the constants of type check in this package.
func checkNames(t *testing.T) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			typ, ok := spec.Type.(*ast.Ident)
			value, isText := spec.Values[0].(*ast.BasicLit)
			if !ok || typ.Name != "check" || !isText {
				return true
			}
			name, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			names[name] = true
			return true
		})
	}
	return names
}

// TestPage: the page has every check, and no other one.
func TestPage(t *testing.T) {
	names := checkNames(t)
	if len(names) < 40 {
		t.Fatalf("only %d checks were found", len(names))
	}
	b, err := os.ReadFile("../../cmd/keyrotor/DOCTOR.md")
	if err != nil {
		t.Fatal(err)
	}
	troubles, all, _ := strings.Cut(string(b), "## All checks")
	listed := make(map[string]bool)
	groups := "config|plugins|provider|store|key|history|pending|notify|rotation|process"
	for _, m := range regexp.MustCompile("`((?:"+groups+`)\.[a-z]+)`+"`").FindAllStringSubmatch(all, -1) {
		listed[m[1]] = true
		if !names[m[1]] {
			t.Errorf("the page lists %s, which is no check", m[1])
		}
	}
	for name := range names {
		if !listed[name] {
			t.Errorf("the page does not list %s", name)
		}
	}
	asked := 0
	for _, m := range regexp.MustCompile("`((?:"+groups+`)\.[a-z]+)`+"`").FindAllStringSubmatch(troubles, -1) {
		asked++
		if !names[m[1]] {
			t.Errorf("troubleshooting names %s, which is no check", m[1])
		}
	}
	if asked < 15 {
		t.Errorf("troubleshooting names %d checks", asked)
	}
}
