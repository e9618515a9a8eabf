package core_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/config"
)

// sourceCalls are the calls of the document that describes the system. Each has a row.
var sourceCalls = []string{
	"setup_key_rotation", "SecureValue", "rotate_secure_values", "schedule_key_rotation", "TimeBasedRotationPolicy",
	"UsageBasedRotationPolicy", "CompositeRotationPolicy", "ScheduledRotationPolicy", "a policy of one's own", "configure",
	"start", "stop", "add_policy", "remove_policy", "notification handlers", "custom key provider", "storage_path", "persist",
	"max_events", "get_events", "get_version_info", "get_active_key_versions", "rotation reasons", "the troubleshooting list",
}

// pageRow is a row of the page's table.
type pageRow struct{ call, code, example, command, config string }

func readPage(t *testing.T) (rows []pageRow, samples []string) {
	t.Helper()
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 4 || strings.HasPrefix(line, "| call elsewhere") {
			continue
		}
		cells = strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			t.Errorf("%d cells: %s", len(cells), line)
			continue
		}
		rows = append(rows, pageRow{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	for _, block := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		samples = append(samples, block[1])
	}
	return rows, samples
}

// quoted are the words in backquotes.
func quoted(text string) (list []string) {
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			list = append(list, part)
		}
	}
	return list
}

// known is what a package has: exported names, methods as T.M, and examples that run.
func known(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	fset := token.NewFileSet()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		return names // no such package yet
	}
	for _, path := range paths {
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, e := range doc.Examples(file) {
				names["Example"+e.Name] = e.Output != "" || e.EmptyOutput || e.Name == "Serve" // which would not return
			}
			continue
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[receiverOf(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok {
						names[s.Name.Name] = true
					}
				}
			}
		}
	}
	return names
}

// receiverOf is "T." for a method of T or *T.
func receiverOf(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if name, ok := typ.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

// TestPage holds the page to what there is: every call has a row, every name, example and
// command in it exists, and the config loads.
func TestPage(t *testing.T) {
	rows, samples := readPage(t)
	var calls strings.Builder
	packages := make(map[string]map[string]bool)
	in := func(pkg string) map[string]bool {
		if packages[pkg] == nil {
			dir := pkg
			switch pkg {
			case "core":
				dir = "."
			case "sdk":
				dir = filepath.Join("..", "plugins", "sdk")
			}
			packages[pkg] = known(t, dir)
		}
		return packages[pkg]
	}
	examples := 0
	for _, r := range rows {
		calls.WriteString(r.call)
		for _, name := range append(quoted(r.code), quoted(r.example)...) {
			if !codeExists(in, name) {
				t.Errorf("%s does not exist: %q", name, r.call)
			}
		}
		for _, name := range quoted(r.example) {
			if !strings.Contains(name, ".Example") {
				t.Errorf("%s is no example: %q", name, r.call)
			}
			examples++
		}
		for _, command := range quoted(r.command) {
			if !commandExists(t, command) {
				t.Errorf("%s does not exist: %q", command, r.call)
			}
		}
		for _, path := range quoted(r.config) {
			last := path[strings.LastIndex(path, ".")+1:]
			if !regexp.MustCompile(`\b` + last + `\b`).MatchString(strings.Join(samples, "")) {
				t.Errorf("%s of %q is not in the samples", path, r.call)
			}
		}
		if len(quoted(r.example)) == 0 {
			t.Errorf("%q has no example", r.call)
		}
	}
	if len(rows) < 20 || examples < len(rows) {
		t.Errorf("the page has %d rows and %d examples", len(rows), examples)
	}
	for _, call := range sourceCalls {
		if !strings.Contains(calls.String(), call) {
			t.Errorf("no row tells of %s", call)
		}
	}
	for i := range samples {
		if err := loads(t, samples[:1], samples[i:i+1]); err != nil {
			t.Errorf("sample %d: %v", i+1, err)
		}
	}
}

// codeExists looks for pkg.Name, or a method of an opened Keyrotor as kr.Name.
func codeExists(in func(string) map[string]bool, name string) bool {
	if method, ok := strings.CutPrefix(name, "kr.Scheduler."); ok {
		return in("scheduler")["Scheduler."+method]
	}
	if method, ok := strings.CutPrefix(name, "kr.Notifier."); ok {
		return in("notify")["Notifier."+method]
	}
	if method, ok := strings.CutPrefix(name, "kr."); ok {
		return in("core")["Keyrotor."+method] || in("core")["Setup."+method] || in("engine")["Engine."+method]
	}
	pkg, rest, ok := strings.Cut(name, ".")
	return ok && in(pkg)[rest]
}

// commandExists looks for a command and its flags in the list that the command line's own
// test keeps.
func commandExists(t *testing.T, command string) bool {
	t.Helper()
	b, err := os.ReadFile("../cmd/keyrotor/internal/cli/testdata/surface.txt")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(command)
	flags := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") })
	if flags < 0 {
		flags = len(words)
	}
	name := strings.Join(words[:flags], " ")
	there := make(map[string]bool)
	current := false
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(line, "keyrotor") {
			current = line == name || strings.HasPrefix(line, name+" ")
			there[""] = there[""] || current
			continue
		}
		if flag := strings.Fields(line); current && len(flag) > 0 {
			there[flag[0]] = true
		}
	}
	for _, flag := range words[flags:] {
		if !there[flag] {
			return false
		}
	}
	return there[""]
}

// loads reads a config of the samples.
func loads(t *testing.T, samples ...[]string) error {
	t.Helper()
	dir := t.TempDir()
	text := strings.Join(slices.Compact(slices.Concat(samples...)), "\n")
	for name, content := range map[string]string{"keyrotor.hcl": text, "webhook.secret": strings.Repeat("s3cret", 8)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := config.Load(filepath.Join(dir, "keyrotor.hcl"))
	return err
}

// TestPageIsLinked: whoever reads the repository's page finds this one.
func TestPageIsLinked(t *testing.T) {
	for _, page := range []string{"core/README.md", "cmd/keyrotor/DOCTOR.md"} {
		b, err := fs.ReadFile(os.DirFS(".."), "README.md")
		if err != nil || !strings.Contains(string(b), "("+page+")") {
			t.Errorf("README.md does not link to %s: %v", page, err)
		}
	}
}
