package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mitchellh/go-wordwrap"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core/provider"
)

// docWidth is where the text of a schema's comments breaks.
const docWidth = 76

// withoutSecrets drops the defaults of sensitive attributes.
func withoutSecrets(s provider.Schema) provider.Schema {
	s.Attributes = slices.Clone(s.Attributes)
	for i := range s.Attributes {
		if s.Attributes[i].Sensitive {
			s.Attributes[i].Default = nil
		}
	}
	s.Blocks = slices.Clone(s.Blocks)
	for i := range s.Blocks {
		s.Blocks[i].Body = withoutSecrets(s.Blocks[i].Body)
	}
	return s
}

// schemaText writes a schema as the block that it describes, ready to be copied
// into a config file: what is not required is commented out.
func schemaText(typ string, s provider.Schema) string {
	var w schemaWriter
	w.comment(s.Doc)
	w.line(`provider %q "NAME" {`, typ)
	w.body(s)
	w.line("}")
	return w.String()
}

// schemaWriter is an indenting writer of HCL.
type schemaWriter struct {
	strings.Builder
	depth int
	// off: what is written is commented out.
	off bool
}

// line writes one, whatever the plugin's author put into a text.
func (w *schemaWriter) line(format string, args ...any) {
	text := strings.Repeat("  ", w.depth)
	if w.off {
		text += "# "
	}
	w.WriteString(strings.TrimRight(text+console.Printable(fmt.Sprintf(format, args...)), " ") + "\n")
}

func (w *schemaWriter) comment(doc string) {
	if doc == "" {
		return
	}
	for line := range strings.SplitSeq(wordwrap.WrapString(doc, docWidth), "\n") {
		w.line("# %s", line)
	}
}

func (w *schemaWriter) body(s provider.Schema) {
	w.depth++
	defer func() { w.depth-- }()
	for i, a := range s.Attributes {
		if i > 0 {
			w.WriteString("\n")
		}
		w.attribute(a)
	}
	written := make(map[string]bool)
	for _, b := range s.Blocks {
		w.WriteString("\n")
		w.block(b, written[b.Type])
		written[b.Type] = true
	}
}

func (w *schemaWriter) attribute(a provider.Attribute) {
	w.comment(a.Doc)
	if a.Deprecated != "" {
		w.comment("Deprecated: " + a.Deprecated)
	}
	traits := []string{string(a.Type)}
	if a.Required {
		traits = append(traits, "required")
	}
	if a.Sensitive {
		traits = append(traits, "sensitive")
	}
	defer func(off bool) { w.off = off }(w.off)
	w.off = w.off || !a.Required
	w.line("%s = %s # %s", a.Name, valueText(a), strings.Join(traits, ", "))
}

// block writes one entry; another is written already if there is a choice of them.
func (w *schemaWriter) block(b provider.BlockSchema, another bool) {
	w.comment(b.Body.Doc)
	if len(b.Labels) > 1 {
		w.comment("The label is one of " + strings.Join(b.Labels, ", ") + ".")
	}
	if b.Repeated {
		w.comment("It may be repeated.")
	}
	defer func(off bool) { w.off = off }(w.off)
	w.off = w.off || !b.Required || another && !b.Repeated
	label := ""
	if len(b.Labels) > 0 {
		label = fmt.Sprintf("%q ", b.Labels[0])
	}
	w.line("%s %s{", b.Type, label)
	body := b.Body
	body.Doc = ""
	w.body(body)
	w.line("}")
}

// valueText is an attribute's default, or a placeholder of its type.
func valueText(a provider.Attribute) string {
	if a.Default != nil {
		switch v := a.Default.(type) {
		case string:
			return fmt.Sprintf("%q", v)
		case []string:
			quoted := make([]string, len(v))
			for i, s := range v {
				quoted[i] = fmt.Sprintf("%q", s)
			}
			return "[" + strings.Join(quoted, ", ") + "]"
		case map[string]string:
			var pairs []string
			for _, k := range slices.Sorted(maps.Keys(v)) {
				pairs = append(pairs, fmt.Sprintf("%q = %q", k, v[k]))
			}
			return "{ " + strings.Join(pairs, ", ") + " }"
		case int64, bool:
			return fmt.Sprint(v)
		}
	}
	switch a.Type {
	case provider.Int:
		return "0"
	case provider.Bool:
		return "false"
	case provider.StringList:
		return `["…"]`
	case provider.StringMap:
		return `{ NAME = "…" }`
	case provider.Duration:
		return `"30s"`
	default:
		return `"…"`
	}
}
