package config

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// scope is the inside of one block, or of a whole file.
type scope struct {
	body hcl.Body
	// at is where the block begins.
	at hcl.Range
	// title names the block in messages, e.g. `provider "local" "main"`; empty
	// for the top level.
	title string
	// path of the block within its top-level block, e.g. "auth".
	path string
	// planned names what the design has and this build has not.
	planned []string
}

func (s scope) in() string {
	if s.title == "" {
		return ""
	}
	return " in " + s.title
}

// attribute is the path of one of the scope's attributes or blocks.
func (s scope) attribute(name string) string {
	if s.path == "" {
		return name
	}
	return s.path + "." + name
}

// content picks what the schema knows, and reports everything else.
func (ps *problems) content(s scope, schema *hcl.BodySchema) *hcl.BodyContent {
	written, ok := ps.items(s)
	if !ok {
		return &hcl.BodyContent{}
	}
	var attributes, blocks []string
	for _, a := range schema.Attributes {
		attributes = append(attributes, a.Name)
	}
	for _, b := range schema.Blocks {
		blocks = append(blocks, b.Type)
	}
	known := nameSet{attributes: attributes, blocks: blocks, planned: s.planned}
	for _, it := range written {
		if summary, detail := known.refuse(it, s); summary != "" {
			ps.add(it.at, s.attribute(it.name), summary, detail)
		}
	}
	content, _, diags := s.body.PartialContent(schema)
	ps.structure(s, diags)
	return content
}

// structure reports what the library finds wrong with labels and JSON shapes.
// These messages hold names of the schema only.
func (ps *problems) structure(s scope, diags hcl.Diagnostics) {
	for _, d := range diags {
		ps.add(*d.Subject, s.path, lowerFirst(d.Summary)+s.in(), lowerFirst(d.Detail))
	}
}

// item is one name that stands in a body.
type item struct {
	name string
	at   hcl.Range
	form form
}

// form is how an item is written. JSON does not tell attributes from blocks.
type form string

const (
	asAttribute form = "attribute"
	asBlock     form = "block"
	asProperty  form = "property"
)

// items lists the names in a body, in no order. It answers false if the body is
// no body at all.
func (ps *problems) items(s scope) ([]item, bool) {
	var out []item
	if native, ok := s.body.(*hclsyntax.Body); ok {
		for _, a := range native.Attributes {
			out = append(out, item{a.Name, a.NameRange, asAttribute})
		}
		for _, b := range native.Blocks {
			out = append(out, item{b.Type, b.TypeRange, asBlock})
		}
		return out, true
	}
	properties, diags := s.body.JustAttributes()
	ps.structure(s, diags)
	for _, p := range properties {
		out = append(out, item{p.Name, p.NameRange, asProperty})
	}
	return out, !diags.HasErrors()
}

// nameSet is what may stand in a body.
type nameSet struct {
	attributes, blocks, planned []string
}

// refuse answers an empty summary if the item may stand here.
func (n nameSet) refuse(it item, s scope) (summary, detail string) {
	attribute, block := slices.Contains(n.attributes, it.name), slices.Contains(n.blocks, it.name)
	switch {
	case it.form == asProperty && (attribute || block),
		it.form == asAttribute && attribute,
		it.form == asBlock && block:
		return "", ""
	case attribute:
		return fmt.Sprintf("%q%s is an attribute, not a block", it.name, s.in()),
			fmt.Sprintf("write %s = …", it.name)
	case block:
		return fmt.Sprintf("%q%s is a block, not an attribute", it.name, s.in()),
			fmt.Sprintf("write %s … { … }", it.name)
	case slices.Contains(n.planned, it.name):
		return fmt.Sprintf("%s %q%s is not supported by this build yet", it.form, it.name, s.in()),
			"leave it out"
	}
	known := slices.Concat(n.attributes, n.blocks)
	return fmt.Sprintf("unknown %s %q%s", it.form, it.name, s.in()), suggest(it.name, known)
}
