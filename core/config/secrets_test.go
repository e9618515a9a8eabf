package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// planted stands for every secret of these tests; no text may hold it, nor its
// parts, which a message might quote from the middle of a broken value.
const planted = "hunter2-pl4nted"

func assertNoSecret(t *testing.T, what string, v any) {
	t.Helper()
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%s", v), fmt.Sprintf("%q", v), string(encoded),
	} {
		for _, part := range []string{"hunter2", "pl4nted", "s3cret", "tr0ub4dor"} {
			if strings.Contains(text, part) {
				t.Errorf("%s shows %q: %s", what, part, text)
			}
		}
	}
}

func TestValuesDoNotPrint(t *testing.T) {
	t.Setenv("PLANTED", planted)
	inFolder(t, map[string]string{"k.hcl": `
storage "sqlite" {
  path = "k.db"
}
provider "x" "y" {
  token = "hunter2-pl4nted"
  other = env("PLANTED")
}`})
	file, err := Load("k.hcl")
	if err != nil {
		t.Fatal(err)
	}
	assertNoSecret(t, "File", file)
	assertNoSecret(t, "File by value", *file)
	assertNoSecret(t, "Provider", file.Providers[0])
	assertNoSecret(t, "*Provider", &file.Providers[0])
	assertNoSecret(t, "unexported field", struct{ p Provider }{file.Providers[0]})
	if got := fmt.Sprintf("%v %+v %#v", file.Providers[0], file.Providers[0], file.Providers[0]); got !=
		`provider "x" "y" provider "x" "y" provider "x" "y"` {
		t.Error(got)
	}
	body, _, err := file.Providers[0].Decode(provider.Schema{Attributes: []provider.Attribute{
		{Name: "token", Type: provider.String, Sensitive: true},
		{Name: "other", Type: provider.String, Sensitive: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if string(body.Secret("other").Reveal()) != planted {
		t.Error("the secret is lost")
	}
	assertNoSecret(t, "Body", body)
}

// Every way we know of to get a value wrong, in both forms: no error may show it.
func TestErrorsDoNotShowValues(t *testing.T) {
	t.Setenv("PLANTED", planted)
	values := []string{
		`hunter2`, `hunter2-pl4nted`, `hunter2.pl4nted`, `hunter2("pl4nted")`, `"hunter2`, `'hunter2'`, "`hunter2`",
		`"hunter2\pl4nted"`, `"hunter2" "pl4nted"`, `"hunter2" pl4nted`, `"hunter2${pl4nted}"`, `"${hunter2"`,
		`"hunter2%{pl4nted}"`, `"hunter2%{if pl4nted}x"`, `"%{ hunter2 }"`, `"${env(PLANTED)}"`, `hunter2 pl4nted = 5`,
		`["hunter2", 5, pl4nted]`, `{hunter2 = pl4nted}`, `{hunter2 = "pl4nted", "hunter2" = 5}`, `{(env("PLANTED")) = 5}`,
		`env(env("PLANTED"))`, `file(env("PLANTED"))`, `env("PLANTED")["hunter2"]`, `"hunter2".pl4nted`, `"hunter2"[pl4nted]`,
		`hunter2[pl4nted][s3cret]`, `hunter2.0.1.pl4nted`, `hunter2[*].pl4nted`, `[for hunter2 in pl4nted: s3cret]`,
		`<<EOT` + "\nhunter2\n", `<<hunter2` + "\npl4nted\n", `-hunter2`, `!hunter2`, `hunter2 + pl4nted`, `hunter2 ? pl4nted : s3cret`,
		`hunter2::pl4nted("s3cret")`, `(hunter2`, `hunter2)`, `hunter2,pl4nted`, `hunter2 # pl4nted`, `"${env("PLANTED")}x"`,
		"“hunter2”", `hunter2 => pl4nted`, `hunter2 & pl4nted`, `"\u{hunter2}"`, `"\uD800hunter2"`, `env("PLANTED")`, `file("secret")`,
		`env("hunter2-pl4nted")`, `env("hunter2pl4nted")`, `"x${env("hunter2_pl4nted")}"`,
	}
	schemas := []provider.AttributeType{
		provider.String, provider.Int, provider.Bool, provider.StringList, provider.StringMap, provider.Path, provider.Duration,
	}
	var refused int
	check := func(name, text string) {
		inFolder(t, map[string]string{name: text, "secret": planted})
		file, err := Load(name)
		if err != nil {
			refused++
			assertNoSecret(t, text, err)
			return
		}
		for _, typ := range schemas {
			_, warnings, err := file.Providers[0].Decode(provider.Schema{Attributes: []provider.Attribute{
				{Name: "v", Type: typ, Deprecated: "no more"}, {Name: "w", Type: provider.StringList},
			}})
			assertNoSecret(t, text, warnings)
			if err != nil {
				refused++
				assertNoSecret(t, text, err)
			}
		}
	}
	for _, v := range values {
		check("k.hcl", "provider \"x\" \"y\" {\n  v = "+v+"\n}\n"+"storage \"sqlite\" {\n  path = \"k.db\"\n}\n")
		check("k.hcl", "provider \"x\" \"y\" { v = "+v+" }\n"+"storage \"sqlite\" {\n  path = \"k.db\"\n}\n")
		check("k.hcl", "provider \"x\" \"y\" {\n  w = ["+v+"]\n}\n"+"storage \"sqlite\" {\n  path = \"k.db\"\n}\n")
		check("k.hcl", "key \"k\" {\n  wrap_with = ["+v+"]\n  wraps = "+v+"\n}\n"+base)
		check("k.hcl", "storage \"sqlite\" {\n  path = "+v+"\n  other = "+v+"\n}\nprovider \"x\" \"y\" {\n}\n")
		quoted, err := json.Marshal("${" + v + "}")
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range []string{v, string(quoted)} {
			check("k.json", `{"storage": {"sqlite": {"path": "k.db"}}, "provider": {"x": {"y": {"v": `+j+`, "w": [`+j+`]}}}}`)
			check("k.json", `{"storage": {"sqlite": {"path": "k.db"}}, "provider": {"x": {"y": `+j+`}}, "key": `+j+`}`)
		}
	}
	if refused < len(values)*10 {
		t.Errorf("only %d were refused: the test does not test", refused)
	}
}

func TestErrorIsStructured(t *testing.T) {
	inFolder(t, map[string]string{"k.hcl": base + "key \"a\" {\n  wraps = 5\n}\n"})
	_, err := Load("k.hcl")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	encoded, err := json.Marshal(e.Problems)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"k.hcl","line":8,"column":11,"summary":"attribute \"wraps\" in key \"a\": must be a string, not a number","attribute":"wraps"}]`
	if string(encoded) != want {
		t.Errorf("got  %s\nwant %s", encoded, want)
	}
}
