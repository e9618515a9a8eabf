package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// transit is a schema with everything that a schema may have.
func transit() provider.Schema {
	return provider.Schema{
		Attributes: []provider.Attribute{
			{Name: "address", Type: provider.String, Required: true},
			{Name: "port", Type: provider.Int, Default: int64(443)},
			{Name: "retries", Type: provider.Int},
			{Name: "tls", Type: provider.Bool, Default: true},
			{Name: "scopes", Type: provider.StringList, Default: []string{"all"}},
			{Name: "tags", Type: provider.StringMap, Default: map[string]string{"a": "b"}},
			{Name: "timeout", Type: provider.Duration, Default: "30s"},
			{Name: "ca_file", Type: provider.Path, Default: "ca.pem"},
			{Name: "token", Type: provider.String, Sensitive: true},
			{Name: "namespace", Type: provider.String, Deprecated: `use "mount"`},
		},
		Blocks: []provider.BlockSchema{
			{Type: "auth", Labels: []string{"approle"}, Required: true, Body: provider.Schema{
				Attributes: []provider.Attribute{
					{Name: "role_id", Type: provider.String, Required: true},
					{Name: "secret_id", Type: provider.String, Sensitive: true},
				},
			}},
			{Type: "auth", Labels: []string{"token", "cert"}, Required: true, Body: provider.Schema{
				Attributes: []provider.Attribute{{Name: "value", Type: provider.String, Sensitive: true, Default: "none"}},
			}},
			{Type: "header", Repeated: true, Body: provider.Schema{
				Attributes: []provider.Attribute{{Name: "name", Type: provider.String}},
			}},
		},
	}
}

// testSchema has one string attribute, or a path if it is named so.
func testSchema(t *testing.T, name string) provider.Schema {
	t.Helper()
	typ := provider.String
	if name == "path" {
		typ = provider.Path
	}
	return provider.Schema{Attributes: []provider.Attribute{{Name: name, Type: typ}}}
}

func TestDecodeSameInBothForms(t *testing.T) {
	dir := wholeFolder(t)
	for form, path := range map[string]string{"hcl": "hcl/keyrotor.hcl", "json": "json/keyrotor.json"} {
		file, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		body, warnings, err := file.Providers[1].Decode(transit())
		if err != nil || warnings != nil {
			t.Fatal(err, warnings)
		}
		want := provider.Body{
			Attributes: map[string]any{
				"address": "https://vault.internal:8200",
				"port":    int64(8200),
				"retries": int64(-1),
				"tls":     true,
				"scopes":  []string{"a", "b8200"},
				"tags":    map[string]string{"team": "payments", "a b": "c"},
				"timeout": "1m30s",
				"ca_file": filepath.Join(dir, form, "ca.pem"),
			},
			Blocks: []provider.Block{
				{Type: "auth", Label: "approle", Body: provider.Body{Attributes: map[string]any{
					"role_id":   "role",
					"secret_id": provider.NewSecret([]byte("s3cr3t-id")),
				}}},
				{Type: "header", Body: provider.Body{Attributes: map[string]any{"name": "one"}}},
				{Type: "header", Body: provider.Body{Attributes: map[string]any{"name": "${two}"}}},
			},
		}
		if !reflect.DeepEqual(body, want) {
			t.Errorf("%s: got  %#v\nwant %#v", form, body, want)
		}
	}
}

// decodeHCL loads a file that holds one provider block with this inside, from
// line 1 on, and decodes it.
func decodeHCL(t *testing.T, inside string, schema provider.Schema) (provider.Body, []Problem, error) {
	t.Helper()
	text := `provider "x" "y" {` + inside + "\n}\nstorage \"sqlite\" {\n  path = \"k.db\"\n}\n"
	inFolder(t, map[string]string{
		"k.hcl": text, "secret": planted + "\n\n", "large": strings.Repeat("x", maxInsert+1), "binary": "\xff",
	})
	file, err := Load("k.hcl")
	if err != nil {
		t.Fatal(err)
	}
	return file.Providers[0].Decode(schema)
}

func TestDecodeDefaults(t *testing.T) {
	schema := transit()
	body, _, err := decodeHCL(t, `
  address = "x"
  tls     = null
  auth "cert" {
  }`, schema)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := provider.Body{
		Attributes: map[string]any{
			"address": "x",
			"port":    int64(443),
			"tls":     true,
			"scopes":  []string{"all"},
			"tags":    map[string]string{"a": "b"},
			"timeout": "30s",
			"ca_file": filepath.Join(dir, "ca.pem"),
		},
		Blocks: []provider.Block{{Type: "auth", Label: "cert", Body: provider.Body{
			Attributes: map[string]any{"value": provider.NewSecret([]byte("none"))},
		}}},
	}
	if !reflect.DeepEqual(body, want) {
		t.Errorf("got  %#v\nwant %#v", body, want)
	}
	body.Strings("scopes")[0] = "changed"
	body.StringMap("tags")["a"] = "changed"
	if !reflect.DeepEqual(schema, transit()) {
		t.Error("a change to the body changed the schema's defaults")
	}
}

func TestDecodeWarns(t *testing.T) {
	_, warnings, err := decodeHCL(t, `
  address = "x"
  auth "token" {
  }
  namespace = "s3cret"`, transit())
	if err != nil {
		t.Fatal(err)
	}
	want := []Problem{{
		File: "k.hcl", Line: 5, Column: 3, Attribute: "namespace",
		Summary: `attribute "namespace" in provider "x" "y" is deprecated`, Detail: `use "mount"`,
	}}
	if !reflect.DeepEqual(warnings, want) {
		t.Errorf("got %+v, want %+v", warnings, want)
	}
}

// What env() and file() answer is text that a number or a boolean can be read
// from; of a file, exactly one newline at the end is dropped.
func TestDecodeOutsideValues(t *testing.T) {
	t.Setenv("PORT", "-9223372036854775808")
	t.Setenv("TLS", "false")
	t.Setenv("EMPTY", "")
	body, _, err := decodeHCL(t, `
  address = env("EMPTY")
  port    = env("PORT")
  tls     = (env("TLS"))
  ca_file = "/abs/../${env("TLS")}"
  token   = file("secret")
  auth "token" {
    value = <<-EOT
      line ${env("TLS")}
      EOT
  }`, transit())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"address": "", "port": int64(-9223372036854775808), "tls": false, "ca_file": "/false",
	} {
		if got := body.Attributes[name]; got != want {
			t.Errorf("%s = %#v, want %#v", name, got, want)
		}
	}
	if got := string(body.Secret("token").Reveal()); got != planted+"\n" {
		t.Errorf("token = %q, want the file without its last newline", got)
	}
	auth, _ := body.Block("auth")
	if got := string(auth.Body.Secret("value").Reveal()); got != "line false\n" {
		t.Errorf("value = %q", got)
	}
}

func TestDecodeBadSchema(t *testing.T) {
	attribute := func(a provider.Attribute) provider.Schema {
		return provider.Schema{Attributes: []provider.Attribute{a}}
	}
	for want, schema := range map[string]provider.Schema{
		`attribute "a" has type "float", which this build does not know`: attribute(provider.Attribute{Name: "a", Type: "float"}),
		`attribute "a" is sensitive, which only a string can be`:         attribute(provider.Attribute{Name: "a", Type: provider.Int, Sensitive: true}),
		`attribute "a" has a default that is not a whole number`:         attribute(provider.Attribute{Name: "a", Type: provider.Int, Default: 5}),
		`attribute "" is nameless or there twice`:                        attribute(provider.Attribute{Type: provider.Int}),
		`block "b": attribute "a" has a default that is not a duration, as a string such as "90s"`: {
			Blocks: []provider.BlockSchema{{
				Type: "b", Body: attribute(provider.Attribute{Name: "a", Type: provider.Duration, Default: "90"}),
			}},
		},
		`block "a" is nameless or an attribute too`: {
			Attributes: []provider.Attribute{{Name: "a", Type: provider.String}},
			Blocks:     []provider.BlockSchema{{Type: "a"}},
		},
	} {
		_, _, err := decodeHCL(t, "", schema)
		want = `k.hcl:1:1: the schema of provider type "x" cannot be used: ` + want + "; update the plugin or keyrotor"
		if err == nil || err.Error() != want {
			t.Errorf("got\n%v\nwant\n%s", err, want)
		}
	}
}

// A name so short that any other is near it suggests nothing.
func TestUnknownShortName(t *testing.T) {
	for want, schema := range map[string]provider.Schema{
		`k.hcl:2:3: unknown attribute "a" in provider "x" "y"`:                   {},
		`k.hcl:2:3: unknown attribute "a" in provider "x" "y"; known here: "id"`: testSchema(t, "id"),
	} {
		_, _, err := decodeHCL(t, "\n  a = 1", schema)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDecodeZeroProvider(t *testing.T) {
	body, _, err := Provider{Type: "x", Name: "y"}.Decode(testSchema(t, "path"))
	if err != nil || len(body.Attributes) != 0 {
		t.Errorf("got %#v, %v", body, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Setenv("PLANTED", planted)
	t.Setenv("EMPTY", "")
	const ok = "address = \"x\"\n  auth \"token\" {\n  }\n  "
	for _, test := range []struct{ name, inside, want string }{
		{"all missing", "", `k.hcl:1:1: missing attribute "address" in provider "x" "y"
k.hcl:1:1: missing block "auth" in provider "x" "y"`},
		{"null is missing", "\n  address = null\n  auth \"token\" {\n  }", `k.hcl:1:1: missing attribute "address" in provider "x" "y"`},
		{"typo", "\n  " + ok + `tokn = "s3cret"`, `k.hcl:5:3: unknown attribute "tokn" in provider "x" "y"; did you mean "token"?`},
		{"block typo", "\n  " + ok + "heder {\n  }", `k.hcl:5:3: unknown block "heder" in provider "x" "y"; did you mean "header"?`},
		{
			"label typo", "\n  address = \"x\"\n  auth \"aprole\" {\n  }",
			`k.hcl:3:3: unknown label "aprole" of block "auth" in provider "x" "y"; did you mean "approle"?`,
		},
		{"inside a block", "\n  address = \"x\"\n  auth \"approle\" {\n    secret_idd = \"s3cret\"\n  }", `k.hcl:3:3: missing attribute "role_id" in auth "approle" in provider "x" "y"
k.hcl:4:5: unknown attribute "secret_idd" in auth "approle" in provider "x" "y"; did you mean "secret_id"?`},
		{
			"block twice", "\n  " + ok + "auth \"approle\" {\n    role_id = \"r\"\n  }",
			`k.hcl:5:3: block "auth" in provider "x" "y" stands twice; the first is at k.hcl:3:3`,
		},
		{"number for a string", "\n  " + ok + "token = 5", `k.hcl:5:11: attribute "token" in provider "x" "y": must be a string, not a number`},
		{"list for a string", "\n  " + ok + `token = ["s3cret"]`, `k.hcl:5:11: attribute "token" in provider "x" "y": must be a string, not a list`},
		{"quoted number", "\n  " + ok + `port = "5"`, `k.hcl:5:10: attribute "port" in provider "x" "y": must be a whole number, not a string`},
		{"fraction", "\n  " + ok + "port = 1.5", `k.hcl:5:10: attribute "port" in provider "x" "y": must be a whole number of at most 64 bits`},
		{"too large", "\n  " + ok + "port = 9223372036854775808", `k.hcl:5:10: attribute "port" in provider "x" "y": must be a whole number of at most 64 bits`},
		{"number from outside", "\n  " + ok + `port = env("PLANTED")`, `k.hcl:5:10: attribute "port" in provider "x" "y": what env() or file() answered is not a whole number`},
		{"boolean from outside", "\n  " + ok + `tls = file("secret")`, `k.hcl:5:9: attribute "tls" in provider "x" "y": what env() or file() answered is neither true nor false`},
		{"string for a boolean", "\n  " + ok + `tls = "true"`, `k.hcl:5:9: attribute "tls" in provider "x" "y": must be true or false, not a string`},
		{"duration", "\n  " + ok + `timeout = "90"`, `k.hcl:5:13: attribute "timeout" in provider "x" "y": must be a duration such as "90s" or "1h30m"`},
		{"empty path", "\n  " + ok + `ca_file = env("EMPTY")`, `k.hcl:5:13: attribute "ca_file" in provider "x" "y": a path must not be empty or hold a NUL`},
		{"element", "\n  " + ok + `scopes = ["a", 5]`, `k.hcl:5:18: attribute "scopes" in provider "x" "y": must hold strings only, not a number`},
		{"map value", "\n  " + ok + `tags = { a = ["s3cret"] }`, `k.hcl:5:16: attribute "tags" in provider "x" "y": must hold strings only, not a list`},
		{"map key", "\n  " + ok + `tags = { a = "1", "a" = "2" }`, `k.hcl:5:21: attribute "tags" in provider "x" "y": this key of the map stands twice`},
		{"variable as key", "\n  " + ok + `tags = { (a) = "1" }`, `k.hcl:5:12: attribute "tags" in provider "x" "y": there are no variables; a string stands in double quotes`},
		{"unquoted", "\n  " + ok + "token = s3cret", `k.hcl:5:11: attribute "token" in provider "x" "y": there are no variables; a string stands in double quotes`},
		{"other function", "\n  " + ok + `token = s3cret("x")`, `k.hcl:5:11: attribute "token" in provider "x" "y": there are no functions but env("NAME") and file("path")`},
		{"no argument", "\n  " + ok + "token = env()", `k.hcl:5:11: attribute "token" in provider "x" "y": env() takes one string`},
		{"argument of another type", "\n  " + ok + "token = env(5)", `k.hcl:5:11: attribute "token" in provider "x" "y": env() takes one string, not a number`},
		{"empty argument", "\n  " + ok + `token = file("")`, `k.hcl:5:11: attribute "token" in provider "x" "y": the argument of file() must not be empty or hold a NUL`},
		{"argument from outside", "\n  " + ok + `token = env(env("PLANTED"))`, `k.hcl:5:11: attribute "token" in provider "x" "y": the argument of env() must be a literal string`},
		{"not set", "\n  " + ok + `token = env("KEYROTOR_UNSET")`, `k.hcl:5:11: attribute "token" in provider "x" "y": environment variable "KEYROTOR_UNSET" is not set`},
		{"not a name", "\n  " + ok + `token = env("hvs.CAES")`, `k.hcl:5:11: attribute "token" in provider "x" "y": the environment variable that env() names is not set; env() takes a variable's name, not its value`},
		{"no such file", "\n  " + ok + `token = file("absent")`, `k.hcl:5:11: attribute "token" in provider "x" "y": cannot read file "absent": no such file or directory`},
		{"large file", "\n  " + ok + `token = file("large")`, `k.hcl:5:11: attribute "token" in provider "x" "y": cannot read file "large": larger than 1 MiB`},
		{"binary file", "\n  " + ok + `token = file("binary")`, `k.hcl:5:11: attribute "token" in provider "x" "y": cannot read file "binary": not UTF-8 text`},
		{"folder", "\n  " + ok + `token = file(".")`, `k.hcl:5:11: attribute "token" in provider "x" "y": cannot read file ".": not a regular file`},
		{"number in a string", "\n  " + ok + `token = "a${5}"`, `k.hcl:5:11: attribute "token" in provider "x" "y": only a string can be put into a string, not a number`},
		{"operator", "\n  " + ok + "port = 5 + 5", `k.hcl:5:10: attribute "port" in provider "x" "y": only a literal value, env("NAME") or file("path") may stand here`},
		{"for", "\n  " + ok + `scopes = [for x in ["a"]: x]`, `k.hcl:5:12: attribute "scopes" in provider "x" "y": only a literal value, env("NAME") or file("path") may stand here`},
	} {
		t.Run(test.name, func(t *testing.T) {
			body, _, err := decodeHCL(t, test.inside, transit())
			if err == nil || err.Error() != test.want {
				t.Errorf("got\n%v\nwant\n%s", err, test.want)
			}
			if body.Attributes != nil || body.Blocks != nil {
				t.Errorf("a body came beside the error: %#v", body)
			}
		})
	}
}
