package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

// checkSchema guards against a plugin whose schema cannot mean anything: it may
// be newer than this build, or wrong.
func checkSchema(schema provider.Schema) error {
	seen := make(map[string]bool)
	for _, a := range schema.Attributes {
		if a.Name == "" || seen[a.Name] {
			return fmt.Errorf("attribute %q is nameless or there twice", a.Name)
		}
		seen[a.Name] = true
		if err := checkAttribute(a); err != nil {
			return fmt.Errorf("attribute %q %w", a.Name, err)
		}
	}
	for _, b := range schema.Blocks {
		if b.Type == "" || seen[b.Type] {
			return fmt.Errorf("block %q is nameless or an attribute too", b.Type)
		}
		if err := checkSchema(b.Body); err != nil {
			return fmt.Errorf("block %q: %w", b.Type, err)
		}
	}
	return nil
}

func checkAttribute(a provider.Attribute) error {
	var fits bool
	switch a.Type {
	case provider.Int:
		_, fits = a.Default.(int64)
	case provider.Bool:
		_, fits = a.Default.(bool)
	case provider.StringList:
		_, fits = a.Default.([]string)
	case provider.StringMap:
		_, fits = a.Default.(map[string]string)
	case provider.String, provider.Path, provider.Duration:
		text, ok := a.Default.(string)
		fits = ok && checkText(a.Type, text) == nil
	default:
		return fmt.Errorf("has type %q, which this build does not know", a.Type)
	}
	switch {
	case a.Sensitive && !isText(a.Type):
		return errors.New("is sensitive, which only a string can be")
	case a.Default != nil && !fits:
		return fmt.Errorf("has a default that is not %s", wanted(a.Type))
	}
	return nil
}

// defaultOf answers a value that the caller may change.
func (e evaluator) defaultOf(a provider.Attribute) any {
	switch v := a.Default.(type) {
	case []string:
		return slices.Clone(v)
	case map[string]string:
		return maps.Clone(v)
	default:
		return e.settle(a, v)
	}
}

// bodySchema is a schema in the terms of the HCL library. Several entries for
// one block type, each with other labels, are one block there.
func bodySchema(schema provider.Schema) *hcl.BodySchema {
	out := &hcl.BodySchema{}
	for _, a := range schema.Attributes {
		out.Attributes = append(out.Attributes, hcl.AttributeSchema{Name: a.Name})
	}
	seen := make(map[string]bool)
	for _, b := range schema.Blocks {
		if seen[b.Type] {
			continue
		}
		seen[b.Type] = true
		header := hcl.BlockHeaderSchema{Type: b.Type}
		if len(labelsOf(schema.Blocks, b.Type)) > 0 {
			header.LabelNames = []string{"label"}
		}
		out.Blocks = append(out.Blocks, header)
	}
	return out
}

// labelsOf lists the labels that blocks of a type may have.
func labelsOf(schemas []provider.BlockSchema, typ string) []string {
	var labels []string
	for _, b := range schemas {
		if b.Type == typ {
			labels = append(labels, b.Labels...)
		}
	}
	return labels
}
