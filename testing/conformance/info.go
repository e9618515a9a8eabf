package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

func infoCases() []testCase {
	return []testCase{
		{name: "info/complete", test: testInfo},
		{name: "info/schema", test: testSchema},
	}
}

// testInfo: the host learns what the plugin says of itself.
func testInfo(ctx context.Context, s *subject) error {
	if s.Info.Version == "" {
		return errors.New("the version is empty")
	}
	got, err := inMemory(s.t, s.Harness).client.Info(ctx)
	if err != nil {
		return fmt.Errorf("a host refuses it: %w", err)
	}
	// The wire drops a capability that is listed twice.
	if read, says := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", s.Info); read != says {
		return fmt.Errorf("a host reads %s, and the provider says %s", read, says)
	}
	return nil
}

// testSchema: the host can check a config file with it, and an operator can read it.
func testSchema(ctx context.Context, s *subject) error {
	schema, err := inMemory(s.t, s.Harness).client.Schema(ctx)
	if err != nil {
		return fmt.Errorf("a host refuses it: %w", err)
	}
	return checkSchema("", schema)
}

// checkSchema checks what the wire lets pass.
func checkSchema(path string, schema provider.Schema) error {
	for _, a := range schema.Attributes {
		switch {
		case a.Doc == "":
			return fmt.Errorf("the attribute %q has no Doc, which is what an operator reads", path+a.Name)
		case a.Required && a.Default != nil:
			return fmt.Errorf("the attribute %q is required and has a default", path+a.Name)
		case a.Sensitive && a.Type != provider.String:
			return fmt.Errorf("the attribute %q is sensitive and of type %q: only a string can be", path+a.Name, a.Type)
		}
	}
	for _, b := range schema.Blocks {
		if err := checkSchema(path+b.Type+".", b.Body); err != nil {
			return err
		}
	}
	return nil
}
