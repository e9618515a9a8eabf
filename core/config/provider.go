package config

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Provider is one `provider` block. What it holds is not known before its
// plugin's schema is, and does not print: some of it is secret.
type Provider struct {
	// Type says which plugin it is for.
	Type string
	// Name is unique among all providers of the file.
	Name string

	block *providerBlock
}

// providerBlock is the block as written. It is behind a pointer because fmt
// would walk into it otherwise.
type providerBlock struct {
	body hcl.Body
	at   hcl.Range
	dir  string
}

// Decode checks the block against its plugin's schema and answers its values:
// defaults filled in, paths absolute, secrets sealed. The warnings are about
// deprecated attributes. The error is an [*Error] with every problem of the block.
//
// Each call reads the environment and files that the block names anew.
func (p Provider) Decode(schema provider.Schema) (provider.Body, []Problem, error) {
	block := p.block
	if block == nil {
		block = &providerBlock{body: hcl.EmptyBody()}
	}
	var found problems
	if err := checkSchema(schema); err != nil {
		found.add(block.at, "", fmt.Sprintf("the schema of provider type %q cannot be used: %v", p.Type, err),
			"update the plugin or keyrotor")
		return provider.Body{}, nil, found.err()
	}
	d := decoder{evaluator: evaluator{dir: block.dir}, found: &found}
	body, _ := d.body(scope{body: block.body, at: block.at, title: p.String()}, schema)
	if err := found.err(); err != nil {
		return provider.Body{}, d.warnings.sorted(), err
	}
	return body, d.warnings.sorted(), nil
}

// Position is where the block begins, as FILE:LINE:COLUMN, for messages of others
// about it.
func (p Provider) Position() string {
	if p.block == nil {
		return ""
	}
	return place(p.block.at)
}

// String names the block and nothing in it.
func (p Provider) String() string { return fmt.Sprintf("provider %q %q", p.Type, p.Name) }

// GoString is what %#v shows.
func (p Provider) GoString() string { return p.String() }
