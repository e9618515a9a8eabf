package conformance

import (
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// TestFailsIsHeldToItsWord: what a harness says to fail must do so, and an invalid
// configuration must say where.
func TestFailsIsHeldToItsWord(t *testing.T) {
	refused := func(attribute string) func(*toyKMS) provider.New {
		return func(*toyKMS) provider.New {
			return func(ctxt, provider.Config) (provider.KeyManager, error) {
				return nil, &provider.Error{Code: provider.InvalidConfig, Attribute: attribute, Message: "it is wrong"}
			}
		}
	}
	for name, c := range map[string]struct {
		mutant mutant
		code   provider.Code
		want   string
	}{
		"another code": {
			mutant{}, provider.Denied, "DescribeKey fails with NOT_FOUND_KEY: there is no key, want the code DENIED",
		},
		"no place":            {mutant{build: refused("")}, provider.InvalidConfig, `the Attribute "", which is not in the schema`},
		"an invented place":   {mutant{build: refused("key.id")}, provider.InvalidConfig, `the Attribute "key.id", which is not in the schema`},
		"an attribute":        {mutant{build: refused("path")}, provider.InvalidConfig, ""},
		"a block's attribute": {mutant{build: refused("auth.token")}, provider.InvalidConfig, ""},
		"as it says":          {mutant{}, provider.NotFoundKey, ""},
	} {
		h := c.mutant.harness()
		h.Fails = map[provider.Code]func(testing.TB) provider.Body{c.code: h.KEK}
		cs := failCases(h)
		err := cs[0].run(t.Context(), &subject{Harness: h, t: t, way: direct{h.New}, name: cs[0].name}, patience)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s: got %v, want %q", name, cs[0].name, err, c.want)
		}
	}
}
