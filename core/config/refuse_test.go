package config

import (
	"slices"
	"strings"
	"testing"
)

// badHCL are files that the loader refuses; base follows each.
var badHCL = []struct{ name, text, want string }{
	{"unknown block", `
stroage "sqlite" {
}`, `k.hcl:2:1: unknown block "stroage"; did you mean "storage"?`},
	{"far from any name", `zebra {
}`, `k.hcl:1:1: unknown block "zebra"; known here: "storage", "plugins", "provider", "key", "data", "scheduler", "serve", "history", "notify"`},
	{
		"unknown attribute at the top", `location = "k.db"`,
		`k.hcl:1:1: unknown attribute "location"; known here: "storage", "plugins", "provider", "key", "data", "scheduler", "serve", "history", "notify"`,
	},
	{"block as attribute", `plugins = "x"`, `k.hcl:1:1: "plugins" is a block, not an attribute; write plugins … { … }`},
	{"attribute as block", `plugins {
  lock {
  }
}`, `k.hcl:2:3: "lock" in plugins is an attribute, not a block; write lock = …`},
	{"label missing", `key {
}`, `k.hcl:1:5: missing name for key; all key blocks must have 1 labels (name)`},
	{"label too many", `plugins "x" {
}`, `k.hcl:1:9: extraneous label for plugins; no labels are expected for plugins blocks`},

	{"provider name", `provider "local" "Main" {
}`, `k.hcl:1:18: invalid provider name "Main"; use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit`},
	{"provider type", `provider "../local" "x" {
}`, `k.hcl:1:10: invalid provider type "../local"; use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit`},
	{"provider twice", `provider "other" "main" {
}`, `k.hcl:6:1: the provider name "main" stands twice; the first is at k.hcl:1:1`},

	{"plugins twice", `plugins {
}
plugins {
}`, `k.hcl:3:1: block "plugins" stands twice; the first is at k.hcl:1:1`},
	{"environment with a value", `plugins {
  environment = ["HOME",
    "TOKEN=s3cret"]
}`, `k.hcl:3:5: attribute "environment" in plugins: not the name of a variable; names only, without a value`},
	{"empty path", `plugins {
  directory = ""
}`, `k.hcl:2:15: attribute "directory" in plugins: a path must not be empty or hold a NUL`},
	{"NUL in a path", `plugins {
  directory = "a\u0000"
}`, `k.hcl:2:15: attribute "directory" in plugins: a path must not be empty or hold a NUL`},

	{"key name", `key "Payments" {
}`, `k.hcl:1:5: invalid key name: "Payments": use 1 to 63 of a-z, 0-9, '.' and '-', starting with a letter or digit`},
	{"key twice", `key "a" {
}
key "a" {
}`, `k.hcl:3:1: key "a" stands twice; the first is at k.hcl:1:1`},
	{"key: not yet", `key "a" {
  mirror = "async"
}`, `k.hcl:2:3: attribute "mirror" in key "a" is not supported by this build yet; leave it out`},
	{"wraps any", `key "a" {
  wraps = "any"
}`, `k.hcl:2:11: wraps = "any" in key "a" is not supported by this build yet`},
	{"wraps", `key "a" {
  wraps = "some"
}`, `k.hcl:2:11: attribute "wraps" in key "a": must be "all", not "some"`},
	{"wrap_with nobody", `key "a" {
  wrap_with = []
}`, `k.hcl:2:15: attribute "wrap_with" in key "a": names no provider; leave it out, or name one`},
	{"wrap_with twice", `key "a" {
  wrap_with = ["main", "main"]
}`, `k.hcl:2:24: attribute "wrap_with" in key "a": names provider "main" twice`},
	{"wrap_with typo", `key "a" {
  wrap_with = ["main", "mian"]
}`, `k.hcl:2:24: attribute "wrap_with" in key "a": there is no provider "mian"; did you mean "main"?`},
	{"wrap_with from outside", `key "a" {
  wrap_with = ["x${env("PLANTED")}"]
}`, `k.hcl:2:16: attribute "wrap_with" in key "a": there is no provider what env() or file() answered; known here: "main"`},
	{"wrap_with from outside, a typo", `key "a" {
  wrap_with = [env("NEARLY_MAIN")]
}`, `k.hcl:2:16: attribute "wrap_with" in key "a": there is no provider what env() or file() answered; known here: "main"`},
	{"wrap_with of another type", `key "a" {
  wrap_with = "main"
}`, `k.hcl:2:15: attribute "wrap_with" in key "a": must be a list of strings, not a string`},
	{"null in a list", `key "a" {
  wrap_with = ["main", null]
}`, `k.hcl:2:24: attribute "wrap_with" in key "a": must hold strings only, not null`},

	{"data typo", `data "file" "shop" {
}`, `k.hcl:1:6: unknown data "file"; did you mean "files"?`},
	{"data to come", `data "sql" "shop" {
}`, `k.hcl:1:6: data "sql" is not supported by this build yet; leave it out`},
	{"data name", `data "files" "The shop" {
  paths = ["x"]
}`, `k.hcl:1:14: invalid data name "The shop"; use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit`},
	{"data twice", `data "files" "shop" {
  paths = ["x"]
}
data "files" "shop" {
  paths = ["y"]
}`, `k.hcl:4:1: the data name "shop" stands twice; the first is at k.hcl:1:1`},
	{"data without paths", `data "files" "shop" {
  path = "x"
}`, `k.hcl:1:1: missing attribute "paths" in data "files" "shop"
k.hcl:2:3: unknown attribute "path" in data "files" "shop"; did you mean "paths"?`},
	{"data of nothing", `data "files" "shop" {
  paths = []
}`, `k.hcl:2:11: attribute "paths" in data "files" "shop": names no file or folder; name one, or leave the block out`},
	{"empty data path", `data "files" "shop" {
  paths = ["x", ""]
}`, `k.hcl:2:17: attribute "paths" in data "files" "shop": a path must not be empty or hold a NUL`},

	{"postgres", `storage "postgres" {
  dsn = "postgres://u:s3cret@h/db"
}`, `k.hcl:1:9: storage "postgres" is not supported by this build yet; use storage "sqlite"
k.hcl:4:1: block "storage" stands twice; the first is at k.hcl:1:1`},
	{"storage typo", `storage "sqlit" {
}`, `k.hcl:1:9: unknown storage "sqlit"; did you mean "sqlite"?
k.hcl:3:1: block "storage" stands twice; the first is at k.hcl:1:1`},
	{"storage twice, path missing", `storage "sqlite" {
  pathh = "x"
}`, `k.hcl:1:1: missing attribute "path" in storage "sqlite"
k.hcl:2:3: unknown attribute "pathh" in storage "sqlite"; did you mean "path"?
k.hcl:4:1: block "storage" stands twice; the first is at k.hcl:1:1`},
}

func TestLoadRefuses(t *testing.T) {
	t.Setenv("PLANTED", planted)
	t.Setenv("NEARLY_MAIN", "mian")
	inFolder(t, nil)
	for _, test := range slices.Concat(badHCL, badRotation, badServe, badHistory, badNotify) {
		t.Run(test.name, func(t *testing.T) {
			inFolder(t, map[string]string{"k.hcl": test.text + base})
			if got := loadError(t, "k.hcl"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

const openTop = `{"storage": {"sqlite": {"path": "k.db"}}, "provider": {"local": {"main": {}}}, `

func TestLoadRefusesJSON(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown", openTop + "\n" + `"stroage": {}}`, `k.json:2:1: unknown property "stroage"; did you mean "storage"?`},
		{"not yet", openTop + "\n" + `"key": {"a": {"mirror": "async"}}}`, `k.json:2:15: property "mirror" in key "a" is not supported by this build yet; leave it out`},
		{
			"twice", openTop + "\n" + `"storage": {}}`,
			`k.json:2:1: duplicate attribute definition; the argument "storage" was already set at k.json:1,2-41`,
		},
		{
			"typo", openTop + "\n" + `"key": {"a": {"wrap_with": ["main", "mian"]}}}`,
			`k.json:2:37: attribute "wrap_with" in key "a": there is no provider "mian"; did you mean "main"?`,
		},
		{
			"label missing", `{"storage": {"sqlite": {"path": "k.db"}}, "provider": {"local": {"path": "s3cret"}}}`,
			`k.json:1:74: incorrect JSON value type; either a JSON object or a JSON array is required, representing the contents of one or more "provider" blocks`,
		},
		{
			"side by side", openTop + "\n" + `"key": {"a": {"rotation": {"max_age": "1d", "any": {"max_uses": 5}}}}}`,
			`k.json:2:27: rotation in key "a" has 2 policies side by side: max_age, any; put them into any { } to rotate when one of them is due, or into all { } to rotate when all are`,
		},
		{
			"empty any", openTop + "\n" + `"key": {"a": {"rotation": {"any": {}}}}}`,
			`k.json:2:35: any in rotation in key "a" holds no policy; add max_age, max_uses, schedule, any or all`,
		},
		{
			"zone", openTop + "\n" + `"key": {"a": {"rotation": {"schedule": {"daily": true, "at": "02:00", "timezone": "Berlin"}}}}}`,
			`k.json:2:83: attribute "timezone" in schedule in rotation in key "a": unknown time zone "Berlin": write a name of the IANA database, such as "UTC" or "Europe/Berlin"`,
		},
		{"trailing comma", `{"a": 1,}`, `k.json:1:8: syntax error: trailing comma in object`},
		{"keyword", `{"a": s3cret}`, `k.json:1:7: syntax error: invalid JSON keyword; strings stand in double quotes`},
		{"no object", `"x"`, `k.json:1:1: syntax error: root value must be object`},
		{
			"bad template", openTop + "\n" + `"plugins": {"lock": "${s3cret"}}`,
			`k.json:2:21: attribute "lock" in plugins: its template ${…} cannot be read; to have ${ as it is, write $${`,
		},
		{
			"variable", openTop + "\n" + `"plugins": {"lock": "${s3cret}"}}`,
			`k.json:2:21: attribute "lock" in plugins: there are no variables; a string stands in double quotes`,
		},
		{"brackets", strings.Repeat("[", maxBrackets+1), `k.json: too many brackets: not a config file`},
		{
			"chain", openTop + "\n" + `"plugins": {"lock": "${` + strings.Repeat("!", 1<<14) + `1}"}}`,
			`k.json:2:21: attribute "lock" in plugins: only a literal value, env("NAME") or file("path") may stand here`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inFolder(t, map[string]string{"k.json": test.text})
			if got := loadError(t, "k.json"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{
			`provider "a" "b" { path = "x", key = "s3cret" }`,
			`k.hcl:1:30: syntax error: invalid single-argument block definition; put each attribute on a line of its own`,
		},
		{
			"key \"a\" { x s3cret }",
			"k.hcl:1:11: syntax error: argument definition required; write name = value, or a block: name \"label\" { … }",
		},
		{
			"key \"a\" {\n  password hunter2\n}",
			"k.hcl:2:19: syntax error: invalid block definition; write a block as name \"label\" { … }, its opening brace on the same line",
		},
		{"a = 1\na = 2\n", `k.hcl:2:1: syntax error: attribute redefined; this attribute is already set in the same block`},
		{"a = 's3cret'\n", `k.hcl:1:5: syntax error: invalid character; strings stand in double quotes "…", and nothing ends a line but a newline`},
		{`a = "s3\cret"` + "\n", `k.hcl:1:8: syntax error: invalid escape sequence; a backslash in a string is written \\`},
		{"a {\n", "k.hcl:1:3: syntax error: unclosed configuration block; its closing brace } is missing"},
		{"a = " + strings.Repeat("[", maxBrackets+1), "k.hcl:1:20005: too many brackets: not a config file"},
		{strings.Repeat("a {\n", maxBrackets+1), "k.hcl:20001:3: too many brackets: not a config file"},
		{strings.Repeat("a {\nb c }\n", maxBrackets+1), "k.hcl:40001:3: too many brackets: not a config file"},
		{"a = " + strings.Repeat("!", 1<<14), `k.hcl:1:5: only a literal value, env("NAME") or file("path") may stand here`},
		{"a = " + strings.Repeat("-", 1<<14), `k.hcl:1:5: only a literal value, env("NAME") or file("path") may stand here`},
		{"a = b" + strings.Repeat("[*]", 1<<14), `k.hcl:1:7: only a literal value, env("NAME") or file("path") may stand here`},
		{"a = b" + strings.Repeat("::b", 1<<14), `k.hcl:1:6: only a literal value, env("NAME") or file("path") may stand here`},
		{"a = true ? 1 : 2\n", `k.hcl:1:10: only a literal value, env("NAME") or file("path") may stand here`},
		{"a = \"%{ if true }x%{ endif }\"\n", `k.hcl:1:6: only a literal value, env("NAME") or file("path") may stand here`},
	} {
		inFolder(t, map[string]string{"k.hcl": test.text})
		if got := loadError(t, "k.hcl"); got != test.want {
			t.Errorf("%.40q: got\n%s\nwant\n%s", test.text, got, test.want)
		}
	}
}
