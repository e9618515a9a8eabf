package catalog

import (
	"encoding/json"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

// typeDefaults gives each default of a schema the Go type that
// [provider.AttributeType] promises. JSON knows numbers, lists and objects only.
func typeDefaults(s *provider.Schema) error {
	for i := range s.Attributes {
		a := &s.Attributes[i]
		if a.Default == nil {
			continue
		}
		v, err := typeDefault(a.Type, a.Default)
		if err != nil {
			return fmt.Errorf("attribute %q: default: %w", a.Name, err)
		}
		a.Default = v
	}
	for i := range s.Blocks {
		if err := typeDefaults(&s.Blocks[i].Body); err != nil {
			return fmt.Errorf("block %q: %w", s.Blocks[i].Type, err)
		}
	}
	return nil
}

func typeDefault(t provider.AttributeType, v any) (any, error) {
	switch t {
	case provider.String, provider.Path, provider.Duration:
		if s, ok := v.(string); ok {
			return s, nil
		}
	case provider.Bool:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case provider.Int:
		switch n := v.(type) {
		case int64:
			return n, nil
		case json.Number:
			return n.Int64()
		}
	case provider.StringList:
		switch list := v.(type) {
		case []string:
			return list, nil
		case []any:
			return toStrings(list)
		}
	case provider.StringMap:
		switch m := v.(type) {
		case map[string]string:
			return m, nil
		case map[string]any:
			return toStringMap(m)
		}
	default:
		return nil, fmt.Errorf("attribute type %q is unknown", t)
	}
	return nil, fmt.Errorf("a %T does not fit type %s", v, t)
}

func toStrings(list []any) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, x := range list {
		s, ok := x.(string)
		if !ok {
			return nil, fmt.Errorf("a %T in a list of strings", x)
		}
		out = append(out, s)
	}
	return out, nil
}

func toStringMap(m map[string]any) (map[string]string, error) {
	out := make(map[string]string, len(m))
	for k, x := range m {
		s, ok := x.(string)
		if !ok {
			return nil, fmt.Errorf("a %T in a map of strings", x)
		}
		out[k] = s
	}
	return out, nil
}
