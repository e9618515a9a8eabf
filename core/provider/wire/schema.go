package wire

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// maxSchemaDepth bounds how deep blocks may nest. No provider needs more than
// two levels; a bound keeps a hostile answer from being walked without end.
const maxSchemaDepth = 8

func toInfo(info provider.Info) (*providerv1.GetInfoResponse, error) {
	out := &providerv1.GetInfoResponse{Name: info.Name, Version: info.Version, ProtocolMinor: info.ProtocolMinor}
	for _, c := range info.Capabilities {
		capability := toCapability(c)
		if capability == providerv1.Capability_CAPABILITY_UNSPECIFIED {
			return nil, provider.Errorf(provider.Internal, "the plugin lists the unknown capability %q", c)
		}
		out.Capabilities = append(out.Capabilities, capability)
	}
	return out, nil
}

func fromInfo(info *providerv1.GetInfoResponse) (provider.Info, error) {
	if err := checkName(info.GetName(), "-"); err != nil {
		return provider.Info{}, fmt.Errorf("the plugin's name: %w", err)
	}
	if err := cmp.Or(checkPrintable("plugin's name", info.GetName()), checkPrintable("plugin's version", info.GetVersion())); err != nil {
		return provider.Info{}, err
	}
	out := provider.Info{Name: info.GetName(), Version: info.GetVersion(), ProtocolMinor: info.GetProtocolMinor()}
	for _, c := range info.GetCapabilities() {
		// A newer plugin may list capabilities that this host has no use for.
		if capability := fromCapability(c); capability != "" && !out.Capabilities.Has(capability) {
			out.Capabilities = append(out.Capabilities, capability)
		}
	}
	return out, nil
}

func toSchema(schema provider.Schema) (*providerv1.Schema, error) {
	out := &providerv1.Schema{Doc: schema.Doc}
	for _, a := range schema.Attributes {
		attribute, err := toAttribute(a)
		if err != nil {
			return nil, provider.Errorf(provider.Internal, "schema of attribute %q: %v", a.Name, err)
		}
		out.Attributes = append(out.Attributes, attribute)
	}
	for _, b := range schema.Blocks {
		body, err := toSchema(b.Body)
		if err != nil {
			return nil, err
		}
		out.Blocks = append(out.Blocks, &providerv1.BlockSchema{
			Type: b.Type, Labels: b.Labels, Repeated: b.Repeated, Required: b.Required, Body: body,
		})
	}
	return out, nil
}

func fromSchema(schema *providerv1.Schema, depth int) (provider.Schema, error) {
	if depth > maxSchemaDepth {
		return provider.Schema{}, fmt.Errorf("blocks nest deeper than %d levels", maxSchemaDepth)
	}
	out := provider.Schema{Doc: schema.GetDoc()}
	for _, a := range schema.GetAttributes() {
		attribute, err := fromAttribute(a)
		if err != nil {
			return provider.Schema{}, fmt.Errorf("attribute %q: %w", a.GetName(), err)
		}
		if _, twice := findAttribute(out, attribute.Name); twice {
			return provider.Schema{}, fmt.Errorf("attribute %q appears twice", attribute.Name)
		}
		out.Attributes = append(out.Attributes, attribute)
	}
	for _, b := range schema.GetBlocks() {
		if err := checkName(b.GetType(), "-_"); err != nil {
			return provider.Schema{}, fmt.Errorf("block type: %w", err)
		}
		if overlaps(out.Blocks, b) {
			return provider.Schema{}, fmt.Errorf("block %q appears twice", b.GetType())
		}
		body, err := fromSchema(b.GetBody(), depth+1)
		if err != nil {
			return provider.Schema{}, fmt.Errorf("block %q: %w", b.GetType(), err)
		}
		out.Blocks = append(out.Blocks, provider.BlockSchema{
			Type: b.GetType(), Labels: b.GetLabels(), Repeated: b.GetRepeated(), Required: b.GetRequired(), Body: body,
		})
	}
	return out, nil
}

// overlaps reports whether a block could be meant by one of the schemas and by next.
func overlaps(schemas []provider.BlockSchema, next *providerv1.BlockSchema) bool {
	return slices.ContainsFunc(schemas, func(b provider.BlockSchema) bool {
		return b.Type == next.GetType() && (len(b.Labels) == 0 || len(next.GetLabels()) == 0 ||
			slices.ContainsFunc(b.Labels, func(label string) bool { return slices.Contains(next.GetLabels(), label) }))
	})
}

func toAttribute(a provider.Attribute) (*providerv1.Attribute, error) {
	typ := toAttributeType(a.Type)
	if typ == providerv1.AttributeType_ATTRIBUTE_TYPE_UNSPECIFIED {
		return nil, fmt.Errorf("unknown type %q", a.Type)
	}
	out := &providerv1.Attribute{
		Name: a.Name, Type: typ, Required: a.Required, Sensitive: a.Sensitive, Deprecated: a.Deprecated, Doc: a.Doc,
	}
	if a.Default == nil {
		return out, nil
	}
	value, err := toValue(a.Default)
	if err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	out.Default = value
	return out, nil
}

func fromAttribute(a *providerv1.Attribute) (provider.Attribute, error) {
	if err := checkName(a.GetName(), "-_"); err != nil {
		return provider.Attribute{}, err
	}
	typ := fromAttributeType(a.GetType())
	if typ == "" {
		return provider.Attribute{}, fmt.Errorf("unknown type %d", a.GetType())
	}
	out := provider.Attribute{
		Name: a.GetName(), Type: typ, Required: a.GetRequired(), Sensitive: a.GetSensitive(),
		Deprecated: a.GetDeprecated(), Doc: a.GetDoc(),
	}
	if a.GetDefault() == nil {
		return out, nil
	}
	value, err := fromValue(typ, a.GetDefault())
	if err != nil {
		return provider.Attribute{}, fmt.Errorf("default: %w", err)
	}
	out.Default = value
	return out, nil
}

// checkName allows lower-case letters, digits and the bytes in punctuation, so
// that a name can stand in a config file, a path and a terminal.
func checkName(name, punctuation string) error {
	if name == "" {
		return errors.New("a name is empty")
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(punctuation, r) {
			return fmt.Errorf("the name %q has characters other than a-z, 0-9 and %s", name, punctuation)
		}
	}
	return nil
}
