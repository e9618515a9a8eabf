package config

import (
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

// insteadOfInline is what to do about a secret that stands in the file.
const insteadOfInline = `take it from env("NAME") or file("path")`

// Inline lists what is secret in the notify blocks and stands in the config file itself.
func (f *File) Inline() []Problem { return f.inline.sorted() }

// Inline lists the sensitive attributes of the block whose values stand in the
// config file itself: whoever may read the file has them. What is wrong with the
// block otherwise is for [Provider.Decode] to say.
func (p Provider) Inline(schema provider.Schema) []Problem {
	if p.block == nil {
		return nil
	}
	var ignored problems
	d := decoder{evaluator: evaluator{dir: p.block.dir}, found: &ignored}
	d.inline(scope{body: p.block.body, at: p.block.at, title: p.String()}, schema)
	return d.warnings.sorted()
}

func (d *decoder) inline(s scope, schema provider.Schema) {
	content := d.found.content(s, bodySchema(schema))
	for _, a := range schema.Attributes {
		written := content.Attributes[a.Name]
		if !a.Sensitive || written == nil {
			continue
		}
		if v, err := d.eval(written.Expr); err == nil && v.kind == kindText && !v.outside {
			d.warnings.add(written.NameRange, s.attribute(a.Name),
				fmt.Sprintf("attribute %q%s is a secret, and stands in the config file", a.Name, s.in()),
				insteadOfInline)
		}
	}
	for _, b := range content.Blocks {
		label := ""
		if len(b.Labels) > 0 {
			label = b.Labels[0]
		}
		if inner, ok := schema.Block(b.Type, label); ok {
			d.inline(nested(s, b, label), inner.Body)
		}
	}
}
