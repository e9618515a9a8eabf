package provider

import "slices"

// Schema describes the body of a provider block, or of a block within one. The
// host checks a config file against it before the plugin sees anything.
type Schema struct {
	Doc        string        `json:"doc,omitempty"`
	Attributes []Attribute   `json:"attributes,omitempty"`
	Blocks     []BlockSchema `json:"blocks,omitempty"`
}

// AttributeType is the type of an attribute's value.
type AttributeType string

// The attribute types and the Go type that [Body] holds for each.
const (
	String     AttributeType = "string"      // string
	Int        AttributeType = "int"         // int64
	Bool       AttributeType = "bool"        // bool
	StringList AttributeType = "string-list" // []string
	StringMap  AttributeType = "string-map"  // map[string]string
	// Path is a file; the host makes a relative one absolute, from the config
	// file's folder.
	Path AttributeType = "path" // string
	// Duration is Go's notation, e.g. "30s"; the host checks it and sends it as written.
	Duration AttributeType = "duration" // string
)

// Attribute is one `name = value`.
type Attribute struct {
	Name     string        `json:"name"`
	Type     AttributeType `json:"type"`
	Required bool          `json:"required,omitempty"`
	// Sensitive values are never printed by the host.
	Sensitive bool `json:"sensitive,omitempty"`
	// Default is what an absent attribute means; nil if it has none. The host
	// fills it in.
	Default any `json:"default,omitempty"`
	// Deprecated says what to use instead; empty if the attribute is current.
	Deprecated string `json:"deprecated,omitempty"`
	Doc        string `json:"doc,omitempty"`
}

// Block answers what a block of this type and label, empty if it has none, may contain.
func (s Schema) Block(typ, label string) (BlockSchema, bool) {
	for _, b := range s.Blocks {
		if b.Type == typ && (slices.Contains(b.Labels, label) || label == "" && len(b.Labels) == 0) {
			return b, true
		}
	}
	return BlockSchema{}, false
}

// BlockSchema is one nested block, e.g. `auth "approle" { … }`. Several of one type,
// each with labels of its own, let the content depend on the label.
type BlockSchema struct {
	Type string `json:"type"`
	// Labels that are allowed; empty if the block takes none.
	Labels   []string `json:"labels,omitempty"`
	Repeated bool     `json:"repeated,omitempty"`
	Required bool     `json:"required,omitempty"`
	Body     Schema   `json:"body"`
}

// Config is the checked content of one provider block.
type Config struct {
	// Instance is the host's name for the instance, for logs.
	Instance string
	Body     Body
}

// Body holds the attributes and nested blocks of a block. Values have the Go
// types listed at [AttributeType]; sensitive ones are a [Secret] instead of a
// string.
type Body struct {
	Attributes map[string]any
	Blocks     []Block
}

// Block is one nested block.
type Block struct {
	Type  string
	Label string
	Body  Body
}

// String answers a string, path or duration attribute, or "" if it is absent.
func (b Body) String(name string) string {
	s, _ := b.Attributes[name].(string)
	return s
}

// Secret answers a sensitive attribute; it is empty if the attribute is absent.
func (b Body) Secret(name string) Secret {
	s, _ := b.Attributes[name].(Secret)
	return s
}

// Has reports whether the attribute is set, by the file or by a default.
func (b Body) Has(name string) bool {
	_, ok := b.Attributes[name]
	return ok
}

// Int answers an integer attribute, or 0 if it is absent.
func (b Body) Int(name string) int64 {
	n, _ := b.Attributes[name].(int64)
	return n
}

// Bool answers a boolean attribute, or false if it is absent.
func (b Body) Bool(name string) bool {
	v, _ := b.Attributes[name].(bool)
	return v
}

// Strings answers a list attribute, or nil if it is absent.
func (b Body) Strings(name string) []string {
	v, _ := b.Attributes[name].([]string)
	return v
}

// StringMap answers a map attribute, or nil if it is absent.
func (b Body) StringMap(name string) map[string]string {
	v, _ := b.Attributes[name].(map[string]string)
	return v
}

// Block answers the first nested block of a type.
func (b Body) Block(typ string) (Block, bool) {
	for _, x := range b.Blocks {
		if x.Type == typ {
			return x, true
		}
	}
	return Block{}, false
}
