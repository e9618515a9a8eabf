package secrets_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keyrotor/keyrotor"

// TestNoTypePrintsASecret plants a secret in every exported type of the module that
// has room for one, and prints it in every way. The types are found in the source:
// a list kept by hand would lack the one that matters.
func TestNoTypePrintsASecret(t *testing.T) {
	var program strings.Builder
	var imports, values strings.Builder
	types, generic := 0, 0
	for i, p := range packages(t) {
		plain, parametric := exportedTypes(t, p)
		if len(plain)+len(parametric) == 0 {
			continue
		}
		fmt.Fprintf(&imports, "p%d %q\n", i, p.ImportPath)
		for _, name := range append(plain, parametric...) {
			fmt.Fprintf(&values, "%q: new(p%d.%s),\n", strings.TrimPrefix(p.ImportPath, module+"/")+"."+name, i, name)
		}
		types, generic = types+len(plain), generic+len(parametric)
	}
	fmt.Fprintf(&program, `package main

import (
	"fmt"
	"os"
	%q
	%s)

func main() {
	rooms, err := secrets.Report(os.Stdout, map[string]any{
		%s}, []byte(os.Args[1]))
	if err != nil {
		panic(err)
	}
	fmt.Println("rooms", rooms)
}
`, module+"/testing/secrets", imports.String(), values.String())
	out := run(t, program.String(), "a secret that nobody may see 4711")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	for _, leak := range lines[:len(lines)-1] {
		t.Error(leak)
	}
	var rooms int
	if _, err := fmt.Sscanf(last, "rooms %d", &rooms); err != nil || rooms < 10 || types < 100 || generic < 2 {
		t.Errorf("%d types and %d instances of generic ones, and %q: the search has become blind", types, generic, last)
	}
	t.Logf("%d exported types and %d instances of generic ones, %d with room for a secret", types, generic, rooms)
}

type listed struct {
	ImportPath, Name, Dir string
	GoFiles               []string
}

// packages lists those that others may import, tests and their helpers aside.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Dir,GoFiles", "./core/...", "./providers/...", "./plugins/...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Name != "main" && p.Name != "storetest" && !strings.Contains(p.ImportPath, "/internal/") {
			all = append(all, p)
		}
	}
}

// exportedTypes lists those of which there can be a value without more ado, and of those
// that take types as parameters an instance for each type that a secret may have.
func exportedTypes(t *testing.T, p listed) (plain, parametric []string) {
	t.Helper()
	for _, file := range p.GoFiles {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				s, ok := spec.(*ast.TypeSpec)
				switch {
				case !ok || !s.Name.IsExported() || s.Assign.IsValid():
				case s.TypeParams == nil:
					plain = append(plain, s.Name.Name)
				default:
					for _, arg := range []string{"string", "[]byte"} {
						args := slices.Repeat([]string{arg}, s.TypeParams.NumFields())
						parametric = append(parametric, s.Name.Name+"["+strings.Join(args, ", ")+"]")
					}
				}
			}
		}
	}
	slices.Sort(plain)
	return plain, parametric
}

// run runs a program as if it lay in the module.
func run(t *testing.T, program, arg string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "testing", "secrets", "generated")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(folder, "main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{source: []byte(program), filepath.Join(dir, "overlay.json"): overlay} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "print")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./testing/secrets/generated")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, arg).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
