// Package arch keeps the import rules of the architecture: data and imports flow
// one way, and no key manager's SDK comes near the core.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keyrotor/keyrotor"

var update = flag.Bool("update", false, "write the list of linked modules anew")

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

// list runs go list on the module's packages and answers those it names.
func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Deps,Module"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listed
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list named no package: the rules would hold for nothing")
	}
	return packages
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// sdks begin the import paths of key managers' clients; only providers may link
// them.
var sdks = []string{
	"github.com/hashicorp/vault", "github.com/openbao", "github.com/aws", "cloud.google.com",
	"google.golang.org/api", "github.com/Azure", "github.com/googleapis",
}

// TestNoSDKInCore: nothing under core/ or cmd/ links a key manager's SDK, or
// imports a provider or a plugin.
func TestNoSDKInCore(t *testing.T) {
	for _, p := range list(t, "./core/...", "./cmd/...") {
		for _, dep := range p.Deps {
			for _, sdk := range sdks {
				if strings.HasPrefix(dep, sdk) {
					t.Errorf("%s links %s", p.ImportPath, dep)
				}
			}
			for _, folder := range []string{"providers", "plugins", "testing"} {
				if within(dep, module+"/"+folder) {
					t.Errorf("%s depends on %s", p.ImportPath, dep)
				}
			}
		}
	}
}

// TestServesNothing: a service that links the core gets no HTTP server, which core/notify
// is none of, and Prometheus only with core/metrics.
func TestServesNothing(t *testing.T) {
	for _, p := range list(t, "./core/...") {
		for _, imp := range p.Imports {
			client := p.ImportPath == module+"/core/notify" // of webhooks
			if imp == "net/http" && !client || strings.HasSuffix(imp, "/promhttp") {
				t.Errorf("%s imports %s, which is for cmd", p.ImportPath, imp)
			}
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "github.com/prometheus/") && p.ImportPath != module+"/core/metrics" {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
}

// TestProvidersSeeTheContractOnly: of core, a provider imports core/provider.
func TestProvidersSeeTheContractOnly(t *testing.T) {
	for _, p := range list(t, "./providers/...") {
		for _, imp := range p.Imports {
			if within(imp, module) && imp != module+"/core/provider" && !within(imp, module+"/providers") {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}

// mayImport says which packages of this module each package of core may import;
// what is not named here imports none.
var mayImport = map[string][]string{
	"core/provider": {"core/secret"},
	"core/provider/wire": {
		"core/provider", "core/provider/wire/keyrotor/provider/v1",
	},
	"core/catalog":      {"core/provider", "core/provider/wire", "core/secret"},
	"core/keyring":      {"core/secret"},
	"core/policy":       {"core/keyring"},
	"core/store":        {"core/history", "core/keyring"},
	"core/store/sqlite": {"core/draft", "core/history", "core/keyring", "core/store"},
	"core/config":       {"core/keyring", "core/notify", "core/outage", "core/policy", "core/provider"},
	"core/outage":       {"core/provider"},
	"core/wrapping":     {"core/keyring", "core/provider"},
	"core/backup":       {"core/keyring", "core/wrapping"},
	"core/rotation":     {"core/history", "core/keyring", "core/provider", "core/store", "core/wrapping"},
	"core/rewrap": {
		"core/history", "core/keyring", "core/provider", "core/rotation", "core/store", "core/wrapping",
	},
	"core/engine": {
		"core/history", "core/keyring", "core/outage", "core/provider", "core/rotation", "core/store", "core/wrapping",
	},
	"core/scheduler":   {"core/keyring", "core/policy", "core/rotation", "core/store"},
	"core/notify":      {"core/history", "core/keyring", "core/rotation", "core/secret", "core/store"},
	"core/reencrypt":   {"core/keyring", "core/provider", "core/store"},
	"core/destruction": {"core/history", "core/keyring", "core/reencrypt", "core/store"},
	"core/doctor": {
		"core/catalog", "core/config", "core/history", "core/keyring", "core/notify", "core/policy", "core/provider", "core/rewrap", "core/rotation",
		"core/scheduler", "core/store", "core/store/sqlite",
	},
	"core": {
		"core/backup", "core/catalog", "core/config", "core/destruction", "core/doctor", "core/draft", "core/engine", "core/history", "core/keyring",
		"core/notify", "core/policy", "core/provider", "core/reencrypt", "core/rewrap", "core/rotation", "core/scheduler", "core/secret", "core/store",
		"core/store/sqlite", "core/wrapping",
	},
	"core/metrics": {"core", "core/engine", "core/notify", "core/outage", "core/rotation", "core/scheduler"},
}

func TestImportsFlowOneWay(t *testing.T) {
	for _, p := range list(t, "./core/...") {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if strings.HasPrefix(name, "core/store/storetest") {
			continue // imported by tests alone
		}
		for _, imp := range p.Imports {
			if within(imp, module) && !slices.Contains(mayImport[name], strings.TrimPrefix(imp, module+"/")) {
				t.Errorf("%s imports %s, which the architecture does not provide for", name, imp)
			}
		}
	}
}

// TestLinkedModules compares what the CLI links with a list in testdata, so that a
// new dependency shows in review.
func TestLinkedModules(t *testing.T) {
	var modules []string
	for _, p := range list(t, "-deps", "./cmd/keyrotor") {
		if p.Module != nil && p.Module.Path != module && !slices.Contains(modules, p.Module.Path) {
			modules = append(modules, p.Module.Path)
		}
	}
	slices.Sort(modules)
	got := strings.Join(modules, "\n") + "\n"
	path := filepath.Join("testdata", "linked-modules.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("cmd/keyrotor links\n%sand the list says\n%sIf that is meant, run `go test ./testing/arch -update` and say why in the commit.", got, want)
	}
}

// TestTopLevel: the folders and files that users were promised, and no others.
func TestTopLevel(t *testing.T) {
	allowed := []string{
		"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "cmd", "core", "go.mod", "go.sum",
		"plugins", "providers", "scripts", "testing",
		"bin", // built, never committed
	}
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s stands at the top level", e.Name())
		}
	}
}
