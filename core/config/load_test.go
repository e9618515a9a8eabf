package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/outage"
)

// inFolder makes a folder of these files the working directory, so that messages
// name the files as the test does.
func inFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

// loadError answers the text of the error that loading must end in.
func loadError(t *testing.T, path string) string {
	t.Helper()
	file, err := Load(path)
	if err == nil {
		t.Fatalf("Load(%q) answered %+v, want an error", path, file)
	}
	if file != nil {
		t.Errorf("Load(%q) answered a file beside the error %v", path, err)
	}
	return err.Error()
}

const wholeHCL = `
storage "sqlite" {
  path = "data/keyrotor.db"
}

plugins {
  directory   = "/opt/keyrotor/plugins"
  lock        = "pins.lock"
  environment = ["HTTPS_PROXY", "AWS_CA_BUNDLE"]
}

provider "local" "main" {
  path       = "keks.json"
  passphrase = env("KEYROTOR_TEST_PASSPHRASE")
}

provider "vault-transit" "prod" {
  address = "https://vault.internal:8200"
  port    = env("KEYROTOR_TEST_PORT")
  retries = -1
  tls     = true
  scopes  = ["a", "b${env("KEYROTOR_TEST_PORT")}"]
  tags = {
    team = "payments"
    "a b" = "c"
  }
  timeout = "1m30s"
  auth "approle" {
    role_id   = "role"
    secret_id = file("secret-id")
  }
  header {
    name = "one"
  }
  header {
    name = "$${two}"
  }
}

key "payments" {
  wrap_with = ["prod", "main"]
  wraps     = "all"
  cache {
    ttl   = "30m"
    grace = "1d"
  }
}

key "logs.eu" {
}

data "files" "shop" {
  paths = ["deploy", "/srv/shop/.env"]
}

data "files" "ops" {
  paths = ["../${env("KEYROTOR_TEST_PORT")}/"]
}
`

const wholeJSON = `{
  "//": "comments are objects' properties here",
  "storage": {"sqlite": {"path": "data/keyrotor.db"}},
  "plugins": {
    "directory": "/opt/keyrotor/plugins",
    "lock": "pins.lock",
    "environment": ["HTTPS_PROXY", "AWS_CA_BUNDLE"]
  },
  "provider": {
    "local": {"main": {"path": "keks.json", "passphrase": "${env(\"KEYROTOR_TEST_PASSPHRASE\")}", "sealed": null}},
    "vault-transit": {"prod": {
      "address": "https://vault.internal:8200",
      "port": "${env(\"KEYROTOR_TEST_PORT\")}",
      "retries": -1,
      "tls": true,
      "scopes": ["a", "b${env(\"KEYROTOR_TEST_PORT\")}"],
      "tags": {"team": "payments", "a b": "c"},
      "timeout": "1m30s",
      "auth": {"approle": {"role_id": "role", "secret_id": "${file(\"secret-id\")}"}},
      "header": [{"name": "one"}, {"name": "$${two}"}]
    }}
  },
  "key": {
    "payments": {"wrap_with": ["prod", "main"], "wraps": "all", "cache": {"ttl": "30m", "grace": "1d"}},
    "logs.eu": {}
  },
  "data": {
    "files": {
      "shop": {"paths": ["deploy", "/srv/shop/.env"]},
      "ops": {"paths": ["../${env(\"KEYROTOR_TEST_PORT\")}/"]}
    }
  }
}`

// wholeFolder holds the same config in both forms.
func wholeFolder(t *testing.T) string {
	t.Helper()
	t.Setenv("KEYROTOR_TEST_PASSPHRASE", "tr0ub4dor")
	t.Setenv("KEYROTOR_TEST_PORT", "8200")
	return inFolder(t, map[string]string{
		"hcl/keyrotor.hcl":   wholeHCL,
		"json/keyrotor.json": wholeJSON,
		"hcl/secret-id":      "s3cr3t-id\r\n",
		"json/secret-id":     "s3cr3t-id\n",
	})
}

func TestLoad(t *testing.T) {
	dir := wholeFolder(t)
	for _, path := range []string{"hcl/keyrotor.hcl", "json/keyrotor.json", "hcl", "json"} {
		t.Run(path, func(t *testing.T) {
			got, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			form, _, _ := strings.Cut(path, "/")
			home := filepath.Join(dir, form)
			for i, want := range []string{`provider "local" "main"`, `provider "vault-transit" "prod"`} {
				if got.Providers[i].String() != want {
					t.Errorf("provider %d is %v, want %v", i, got.Providers[i], want)
				}
			}
			got.Providers = nil
			want := &File{
				Path:    filepath.Join(dir, path),
				Dir:     home,
				Sources: []string{form + "/keyrotor." + form},
				Storage: Storage{Type: "sqlite", Path: filepath.Join(home, "data/keyrotor.db")},
				Plugins: Plugins{
					Directory: "/opt/keyrotor/plugins",
					Lock:      filepath.Join(home, "pins.lock"),
					Env:       []string{"HTTPS_PROXY", "AWS_CA_BUNDLE"},
				},
				Keys: []Key{
					{Name: "payments", WrapWith: []string{"prod", "main"}, Cache: &outage.Budget{TTL: 30 * time.Minute, Grace: 24 * time.Hour}},
					{Name: "logs.eu"},
				},
				Data: []Data{
					{Type: "files", Name: "shop", Paths: []string{filepath.Join(home, "deploy"), "/srv/shop/.env"}},
					{Type: "files", Name: "ops", Paths: []string{filepath.Join(dir, "8200")}},
				},
				Scheduler: Scheduler{Interval: time.Minute, DueSoon: 24 * time.Hour},
				Serve:     Serve{Listen: "127.0.0.1:9187"},
				History:   History{Persist: true, MaxEvents: 1000},
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if paths := got.DataPaths(); !slices.Equal(paths, append(want.Data[0].Paths, want.Data[1].Paths...)) {
				t.Errorf("data paths %q", paths)
			}
		})
	}
}

const base = `
storage "sqlite" {
  path = "k.db"
}
provider "local" "main" {
}
`

func TestLoadDefaults(t *testing.T) {
	const bom = "\ufeff"
	dir := inFolder(t, map[string]string{
		"keyrotor.hcl":  bom + base,
		"keyrotor.json": bom + openTop + `"//": "a comment"}`,
	})
	for _, name := range []string{"keyrotor.hcl", "keyrotor.json"} {
		file, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		want := Plugins{Lock: filepath.Join(dir, "plugins.lock")}
		if !reflect.DeepEqual(file.Plugins, want) {
			t.Errorf("got %+v, want %+v", file.Plugins, want)
		}
	}
}

func TestFolderIsOneFile(t *testing.T) {
	dir := inFolder(t, map[string]string{
		"b.hcl":                 "storage \"sqlite\" {\n  path = \"k.db\"\n}\n",
		"a.json":                `{"key": {"payments": {"wrap_with": ["dr", "main"]}}}`,
		"notes.txt":             "not a config",
		".#b.hcl":               "an editor's lock",
		"plugins.lock":          "{}",
		"providers.d/20-dr.hcl": "provider \"local\" \"dr\" {\n  path = \"dr.json\"\n}\n",
		"providers.d/10-m.hcl":  "provider \"local\" \"main\" {\n}\n",
	})
	for _, path := range []string{".", dir} {
		file, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if file.Dir != dir || file.Storage.Path != filepath.Join(dir, "k.db") {
			t.Errorf("Load(%q): dir %q, storage %+v", path, file.Dir, file.Storage)
		}
		if len(file.Providers) != 2 || file.Providers[0].Name != "main" || file.Providers[1].Name != "dr" {
			t.Errorf("Load(%q): providers %v, want main before dr", path, file.Providers)
		}
		if got := file.Providers[1].Position(); !strings.HasSuffix(got, "providers.d/20-dr.hcl:1:1") {
			t.Errorf("position %q", got)
		}
	}
}

func TestDropInFolderOfAFile(t *testing.T) {
	dir := inFolder(t, map[string]string{
		"keyrotor.hcl":         base,
		"other.hcl":            "this is not read",
		"providers.d/more.hcl": "provider \"local\" \"more\" {\n  path = \"x\"\n}\n",
	})
	file, err := Load("keyrotor.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Providers) != 2 {
		t.Fatalf("providers %v", file.Providers)
	}
	body, _, err := file.Providers[1].Decode(testSchema(t, "path"))
	if err != nil {
		t.Fatal(err)
	}
	if got := body.String("path"); got != filepath.Join(dir, "x") {
		t.Errorf("a drop-in's relative path is %q, want it to start from the config's folder", got)
	}
}

func TestProblemsOfSeveralFiles(t *testing.T) {
	inFolder(t, map[string]string{
		"a.hcl":             "storage \"sqlite\" {\n  path = \"k.db\"\n}\nkey \"k\" {\n  wrap_with = [\"mian\"]\n}\n",
		"providers.d/1.hcl": "provider \"local\" \"main\" {\n}\n",
		"providers.d/2.hcl": "storage \"sqlite\" {\n}\nprovider \"aws-kms\" \"main\" {\n}\n",
	})
	want := `a.hcl:5:16: attribute "wrap_with" in key "k": there is no provider "mian"; did you mean "main"?
providers.d/2.hcl:1:1: block "storage" stands twice; the first is at a.hcl:1:1
providers.d/2.hcl:3:1: the provider name "main" stands twice; the first is at providers.d/1.hcl:1:1`
	if got := loadError(t, "."); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLoadRefusesFiles(t *testing.T) {
	inFolder(t, map[string]string{
		"keyrotor.yaml":  "a: b",
		"latin.hcl":      "# gr\xfc\xdfe",
		"nul.hcl":        "# \x00",
		"large.hcl":      strings.Repeat("#", maxSource+1),
		"empty/x.txt":    "",
		"sub/x.hcl/y":    "",
		"sub/other.hcl":  base,
		"drop/k.hcl":     base,
		"drop/.d/x.hcl":  "",
		"none/empty.hcl": "",
	})
	if err := syscall.Mkfifo("pipe.hcl", 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"keyrotor.yaml": "keyrotor.yaml: not a config file; its name must end in .hcl or .json",
		"latin.hcl":     "latin.hcl: not UTF-8 text",
		"nul.hcl":       "nul.hcl: holds a NUL byte",
		"large.hcl":     "large.hcl: larger than 4 MiB",
		"empty":         "empty: no config in this folder; it needs at least one .hcl or .json file",
		"sub":           "sub/x.hcl: not a regular file",
		"pipe.hcl":      "pipe.hcl: not a regular file",
		"none": `none: no provider block; add at least one, e.g. provider "local" "main" { … }: it holds the key that wraps yours
none: no storage block; add storage "sqlite" { path = "keyrotor.db" }`,
	} {
		if got := loadError(t, path); got != want {
			t.Errorf("Load(%q): got\n%s\nwant\n%s", path, got, want)
		}
	}
	if _, err := Load("absent.hcl"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of a file that is not there: %v, want fs.ErrNotExist", err)
	}
}

func TestManyProblems(t *testing.T) {
	inFolder(t, map[string]string{"k.hcl": base + strings.Repeat("stroage \"x\" {\n}\n", 60)})
	_, err := Load("k.hcl")
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) != 60 {
		t.Fatalf("got %v, want an Error of 60 problems", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 51 || lines[50] != "… and 10 more problems" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	want := Problem{
		File: "k.hcl", Line: 7, Column: 1,
		Summary: `unknown block "stroage"`, Detail: `did you mean "storage"?`, Attribute: "stroage",
	}
	if e.Problems[0] != want {
		t.Errorf("got %+v, want %+v", e.Problems[0], want)
	}
}
