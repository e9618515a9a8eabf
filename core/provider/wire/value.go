package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// toBody sends a checked provider block. Its errors are [provider.InvalidConfig]
// and name the attribute, never its value.
func toBody(path string, body provider.Body) (*providerv1.Body, error) {
	out := &providerv1.Body{Attributes: make(map[string]*providerv1.Value, len(body.Attributes))}
	for name, v := range body.Attributes {
		value, err := toValue(v)
		if err != nil {
			return nil, invalidAttribute(join(path, name), err)
		}
		out.Attributes[name] = value
	}
	for _, block := range body.Blocks {
		inner, err := toBody(blockPath(path, block.Type, block.Label), block.Body)
		if err != nil {
			return nil, err
		}
		out.Blocks = append(out.Blocks, &providerv1.Block{Type: block.Type, Label: block.Label, Body: inner})
	}
	return out, nil
}

// fromBody reads a provider block against the plugin's schema: it refuses what
// the schema does not know, and makes sensitive strings secrets.
func fromBody(path string, schema provider.Schema, body *providerv1.Body) (provider.Body, error) {
	out := provider.Body{Attributes: make(map[string]any, len(body.GetAttributes()))}
	for name, value := range body.GetAttributes() {
		attribute, ok := findAttribute(schema, name)
		if !ok {
			return provider.Body{}, invalidAttribute(join(path, name), errors.New("the schema has no such attribute"))
		}
		v, err := fromValue(attribute.Type, value)
		if err != nil {
			return provider.Body{}, invalidAttribute(join(path, name), err)
		}
		if s, isString := v.(string); isString && attribute.Sensitive {
			v = provider.NewSecret([]byte(s))
		}
		out.Attributes[name] = v
	}
	for _, block := range body.GetBlocks() {
		inner := blockPath(path, block.GetType(), block.GetLabel())
		blockSchema, ok := schema.Block(block.GetType(), block.GetLabel())
		if !ok {
			return provider.Body{}, invalidAttribute(inner, errors.New("the schema has no such block"))
		}
		b, err := fromBody(inner, blockSchema.Body, block.GetBody())
		if err != nil {
			return provider.Body{}, err
		}
		out.Blocks = append(out.Blocks, provider.Block{Type: block.GetType(), Label: block.GetLabel(), Body: b})
	}
	return out, nil
}

// toValue sends a value of one of the Go types listed at [provider.AttributeType], or a secret.
func toValue(v any) (*providerv1.Value, error) {
	switch v := v.(type) {
	case string:
		if err := checkText(v); err != nil {
			return nil, err
		}
		return &providerv1.Value{Kind: &providerv1.Value_String_{String_: v}}, nil
	case provider.Secret:
		return toValue(string(v.Reveal()))
	case int64:
		return &providerv1.Value{Kind: &providerv1.Value_Int{Int: v}}, nil
	case bool:
		return &providerv1.Value{Kind: &providerv1.Value_Bool{Bool: v}}, nil
	case []string:
		if err := checkText(v...); err != nil {
			return nil, err
		}
		return &providerv1.Value{Kind: &providerv1.Value_List{List: &providerv1.StringList{Items: v}}}, nil
	case map[string]string:
		for k, s := range v {
			if err := checkText(k, s); err != nil {
				return nil, err
			}
		}
		return &providerv1.Value{Kind: &providerv1.Value_Map{Map: &providerv1.StringMap{Items: v}}}, nil
	default:
		return nil, fmt.Errorf("a value of Go type %T has no place in a provider block", v)
	}
}

// fromValue reads a value that must be of type typ.
func fromValue(typ provider.AttributeType, value *providerv1.Value) (any, error) {
	switch kind := value.GetKind().(type) {
	case *providerv1.Value_String_:
		if typ == provider.String || typ == provider.Path || typ == provider.Duration {
			return kind.String_, nil
		}
	case *providerv1.Value_Int:
		if typ == provider.Int {
			return kind.Int, nil
		}
	case *providerv1.Value_Bool:
		if typ == provider.Bool {
			return kind.Bool, nil
		}
	case *providerv1.Value_List:
		if typ == provider.StringList {
			return kind.List.GetItems(), nil
		}
	case *providerv1.Value_Map:
		if typ == provider.StringMap {
			return kind.Map.GetItems(), nil
		}
	}
	return nil, fmt.Errorf("the value is not of type %s", typ)
}

// checkText refuses bytes that protobuf would refuse later, where nothing says
// which attribute they came from.
func checkText(values ...string) error {
	for _, s := range values {
		if !utf8.ValidString(s) {
			return errors.New("the value holds bytes that are not UTF-8 text; encode them, e.g. in base64")
		}
	}
	return nil
}

func findAttribute(schema provider.Schema, name string) (provider.Attribute, bool) {
	for _, a := range schema.Attributes {
		if a.Name == name {
			return a, true
		}
	}
	return provider.Attribute{}, false
}

func invalidAttribute(path string, err error) error {
	e := provider.Errorf(provider.InvalidConfig, "%v", err)
	e.Attribute = path
	return e
}

// blockPath names a nested block within its provider block, e.g. "auth.approle".
func blockPath(path, typ, label string) string {
	path = join(path, typ)
	if label != "" {
		path = join(path, label)
	}
	return path
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
