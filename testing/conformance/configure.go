package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider"
)

func configureCases() []testCase {
	return []testCase{
		{name: "configure/again", test: onKEK(testConfigureAgain)},
		{name: "configure/required", test: testConfigureRequired},
		{name: "close/twice", test: onKEK(testCloseTwice)},
		{name: "close/others-go-on", test: onKEK(testCloseLeavesOthers)},
	}
}

// testConfigureAgain: the host replays a configuration after a restart, and one
// process may hold several instances for one key.
func testConfigureAgain(ctx context.Context, first *kek) error {
	w, root, err := first.newWrap(ctx, []byte("aad"))
	if err != nil {
		return err
	}
	second, err := first.again(ctx)
	if err != nil {
		return fmt.Errorf("the same configuration again: %w", err)
	}
	if err := second.opens(ctx, w, []byte("aad"), root); err != nil {
		return fmt.Errorf("at the second instance for one key: %w", err)
	}
	if err := first.opens(ctx, w, []byte("aad"), root); err != nil {
		return fmt.Errorf("at the first of two instances: %w", err)
	}
	return nil
}

// testConfigureRequired: the error for an attribute or a block that is missing says
// which, so that the host can point at the place in the file.
func testConfigureRequired(ctx context.Context, s *subject) error {
	body := s.KEK(s.t)
	for _, a := range s.Schema.Attributes {
		if !a.Required {
			continue
		}
		without := provider.Body{Attributes: maps.Clone(body.Attributes), Blocks: body.Blocks}
		delete(without.Attributes, a.Name)
		if err := s.refuses(ctx, without, a.Name); err != nil {
			return err
		}
	}
	for _, b := range s.Schema.Blocks {
		if !b.Required {
			continue
		}
		without := provider.Body{Attributes: body.Attributes, Blocks: slices.DeleteFunc(
			slices.Clone(body.Blocks), func(x provider.Block) bool { return x.Type == b.Type },
		)}
		if err := s.refuses(ctx, without, b.Type); err != nil {
			return err
		}
	}
	return nil
}

// refuses answers how the error for a body without something falls short.
func (s *subject) refuses(ctx context.Context, body provider.Body, missing string) error {
	km, err := s.open(ctx, body)
	if err == nil { // A catalog configures on the first call.
		_, err = km.DescribeKey(ctx)
	}
	what := fmt.Sprintf("a configuration without %q", missing)
	if err := wantCode(err, provider.InvalidConfig, what); err != nil {
		return err
	}
	if e, _ := errors.AsType[*provider.Error](err); e.Attribute != missing {
		return fmt.Errorf("%s fails with the Attribute %q", what, e.Attribute)
	}
	return nil
}

func testCloseTwice(ctx context.Context, k *kek) error {
	for _, which := range []string{"first", "second"} {
		if err := k.Close(); err != nil {
			return fmt.Errorf("the %s Close: %w", which, err)
		}
	}
	return nil
}

// testCloseLeavesOthers: a new configuration is built before the old one is closed.
func testCloseLeavesOthers(ctx context.Context, old *kek) error {
	w, root, err := old.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	next, err := old.again(ctx)
	if err != nil {
		return err
	}
	if _, err := next.Check(ctx, provider.CheckRequest{}); err != nil {
		return fmt.Errorf("Check: %w", err)
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("Close: %w", err)
	}
	if err := next.opens(ctx, w, nil, root); err != nil {
		return fmt.Errorf("after another instance for the key was closed: %w", err)
	}
	return nil
}
