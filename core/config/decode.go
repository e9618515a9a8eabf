package config

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

// decoder reads blocks by a schema. It reads the blocks of a provider by its
// plugin's schema, and our own by schemas of ours.
type decoder struct {
	evaluator
	found    *problems
	warnings problems
}

// body reads the inside of a block. It answers the content as written, too, for
// the places of things.
func (d *decoder) body(s scope, schema provider.Schema) (provider.Body, *hcl.BodyContent) {
	content := d.found.content(s, bodySchema(schema))
	out := d.attributes(s, schema.Attributes, content)
	out.Blocks = d.blocks(s, schema, content.Blocks)
	return out, content
}

func (d *decoder) attributes(s scope, schema []provider.Attribute, content *hcl.BodyContent) provider.Body {
	out := provider.Body{Attributes: make(map[string]any)}
	for _, a := range schema {
		if v := d.attribute(s, a, content.Attributes[a.Name]); v != nil {
			out.Attributes[a.Name] = v
		}
	}
	return out
}

// attribute answers nil if there is no value; if there should be one, it has
// said so.
func (d *decoder) attribute(s scope, a provider.Attribute, written *hcl.Attribute) any {
	path := s.attribute(a.Name)
	if written != nil {
		v, f := d.value(a, written.Expr)
		if f != nil {
			d.found.add(f.at, path, fmt.Sprintf("attribute %q%s: %s", a.Name, s.in(), f.text), "")
			return nil
		}
		if v != nil {
			if a.Deprecated != "" {
				d.warnings.add(written.NameRange, path,
					fmt.Sprintf("attribute %q%s is deprecated", a.Name, s.in()), a.Deprecated)
			}
			return v
		}
	}
	if a.Default != nil {
		return d.defaultOf(a)
	}
	if a.Required {
		d.found.add(s.at, path, fmt.Sprintf("missing attribute %q%s", a.Name, s.in()), "")
	}
	return nil
}

func (d *decoder) blocks(s scope, within provider.Schema, written hcl.Blocks) []provider.Block {
	var out []provider.Block
	first := make(map[string]hcl.Range)
	for _, b := range written {
		label := ""
		if len(b.Labels) > 0 {
			label = b.Labels[0]
		}
		schema, ok := within.Block(b.Type, label)
		if !ok {
			d.found.add(b.DefRange, s.attribute(b.Type),
				fmt.Sprintf("unknown label %q of block %q%s", label, b.Type, s.in()),
				suggest(label, labelsOf(within.Blocks, b.Type)))
			continue
		}
		if before, twice := first[b.Type]; twice && !schema.Repeated {
			d.found.add(b.DefRange, s.attribute(b.Type),
				fmt.Sprintf("block %q%s stands twice", b.Type, s.in()), "the first is at "+place(before))
			continue
		}
		first[b.Type] = b.DefRange
		body, _ := d.body(nested(s, b, label), schema.Body)
		out = append(out, provider.Block{Type: b.Type, Label: label, Body: body})
	}
	d.missing(s, within.Blocks, written)
	return out
}

// missing reports each required block type that is not there at all.
func (d *decoder) missing(s scope, schemas []provider.BlockSchema, written hcl.Blocks) {
	there := make(map[string]bool)
	for _, b := range written {
		there[b.Type] = true
	}
	for _, schema := range schemas {
		if schema.Required && !there[schema.Type] {
			there[schema.Type] = true // once for all its labels
			d.found.add(s.at, s.attribute(schema.Type), fmt.Sprintf("missing block %q%s", schema.Type, s.in()), "")
		}
	}
}

func nested(s scope, b *hcl.Block, label string) scope {
	title := b.Type
	if label != "" {
		title = fmt.Sprintf("%s %q", b.Type, label)
	}
	return scope{body: b.Body, at: b.DefRange, title: title + s.in(), path: s.attribute(b.Type)}
}
