package secret

import (
	"strings"
	"testing"
)

func TestParseTag(t *testing.T) {
	for text, want := range map[string]tag{
		"-":         {skip: true},
		"env=A":     {env: "A"},
		"file=/a=b": {file: "/a=b"},
		"optional,name=a.b,key=k,handling=sealed,env=A": {env: "A", name: "a.b", key: "k", handling: Sealed, optional: true},
		"prefix=A_": {prefix: "A_"},
	} {
		if got, err := parseTag(text); got != want || err != nil {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseTagRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                      `unknown option "": the options are env, file,`,
		"env=A,":                `unknown option ""`,
		"env=A, optional":       `unknown option " optional": did you mean "optional"?`,
		"Env=A":                 `unknown option "Env": did you mean "env"?`,
		"env":                   `option "env" takes a value: env=…`,
		"env=":                  `option "env" takes a value`,
		"env=A,env=A":           `option "env" stands there twice`,
		"env=A,optional=true":   `option "optional" takes no value`,
		"env=A,file=b":          `both env and file`,
		"env=A,handling=secret": `there is no handling "secret": use one of ["mask" "encrypt" "sealed"]`,
		"env=A,name=a b":        `not a name for a secret value`,
		"prefix=A,env=B":        `prefix is for a nested struct, and stands alone`,
		"-,env=A":               `unknown option "-"`,
		"required":              `unknown option "required": the options are env, file, handling, key, name, optional, prefix`,
	} {
		if _, err := parseTag(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// FuzzTag: what is accepted is what it says, in one way.
func FuzzTag(f *testing.F) {
	for _, seed := range []string{
		"", "-", "env=A", "file=/run/secrets/x,handling=mask", "env=A,handling=sealed,key=k,name=n,optional", "prefix=P_",
		"env=A,env=A", "env=A=B,,", "optional=", "\x00=\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseTag(text)
		if err != nil {
			return
		}
		again, err := parseTag(parsed.String())
		if err != nil || again != parsed {
			t.Errorf("%q is %+v, and %q is %+v, %v", text, parsed, parsed.String(), again, err)
		}
		if !parsed.skip && strings.Count(text, ",") != strings.Count(parsed.String(), ",") {
			t.Errorf("%q lost something: %q", text, parsed.String())
		}
	})
}
