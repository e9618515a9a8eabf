package config

import (
	"slices"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// TestInline: what stands in the file is told from what comes from elsewhere, in
// both forms and in nested blocks.
func TestInline(t *testing.T) {
	t.Setenv("PLANTED", planted)
	inFolder(t, map[string]string{
		"secret.txt": planted,
		"k.hcl": `
storage "sqlite" {
  path = "k.db"
}
provider "x" "native" {
  name   = "hunter2"
  token  = "hunter2-pl4nted"
  other  = env("PLANTED")
  third  = file("secret.txt")
  fourth = null
  auth "approle" {
    token = "hunter2-pl4nted"
  }
  auth "token" {
    token = env("PLANTED")
  }
}`,
		"providers.d/more.json": `{"provider": {"x": {"json": {
  "token": "hunter2-pl4nted",
  "other": "${env(\"PLANTED\")}"
}}}}`,
	})
	file, err := Load("k.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"k.hcl", "providers.d/more.json"}; !slices.Equal(file.Sources, want) {
		t.Errorf("read from %q, want %q", file.Sources, want)
	}
	secret := func(name string) provider.Attribute {
		return provider.Attribute{Name: name, Type: provider.String, Sensitive: true}
	}
	schema := provider.Schema{
		Attributes: []provider.Attribute{
			{Name: "name", Type: provider.String}, secret("token"), secret("other"), secret("third"), secret("fourth"), secret("absent"),
		},
		Blocks: []provider.BlockSchema{{
			Type: "auth", Labels: []string{"approle", "token"}, Repeated: true,
			Body: provider.Schema{Attributes: []provider.Attribute{secret("token")}},
		}},
	}
	var got []string
	for _, p := range file.Providers {
		found := p.Inline(schema)
		assertNoSecret(t, "Inline", found)
		for _, f := range found {
			got = append(got, f.String())
		}
	}
	want := []string{
		`k.hcl:7:3: attribute "token" in provider "x" "native" is a secret, and stands in the config file; take it from env("NAME") or file("path")`,
		`k.hcl:12:5: attribute "token" in auth "approle" in provider "x" "native" is a secret, and stands in the config file; take it from env("NAME") or file("path")`,
		`providers.d/more.json:2:3: attribute "token" in provider "x" "json" is a secret, and stands in the config file; take it from env("NAME") or file("path")`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if found := (Provider{}).Inline(schema); found != nil {
		t.Errorf("the zero Provider has %v", found)
	}
}
