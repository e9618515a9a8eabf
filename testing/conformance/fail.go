package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/provider"
)

// failCases are those of [Harness.Fails].
func failCases(h *Harness) []testCase {
	var out []testCase
	for _, code := range slices.Sorted(maps.Keys(h.Fails)) {
		out = append(out, testCase{
			name: "fails/" + strings.ReplaceAll(strings.ToLower(string(code)), "_", "-"),
			test: func(ctx context.Context, s *subject) error { return testFails(ctx, s, code) },
		})
	}
	return out
}

func testFails(ctx context.Context, s *subject, code provider.Code) error {
	km, err := s.open(ctx, s.Fails[code](s.t))
	if err != nil {
		return s.failsWell(err, code, "the configuration")
	}
	return (&kek{KeyManager: km, s: s}).fails(ctx, code, "")
}

// fails answers which call on a key does not fail with the code.
func (k *kek) fails(ctx context.Context, code provider.Code, where string) error {
	_, describe := k.DescribeKey(ctx)
	_, generate := k.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
	_, check := k.Check(ctx, provider.CheckRequest{Deep: true})
	return errors.Join(
		k.s.failsWell(describe, code, "DescribeKey"+where),
		k.s.failsWell(generate, code, "GenerateDataKey"+where),
		k.s.failsWell(check, code, "a deep Check"+where),
	)
}

// failsWell is wantCode; and who is told that a configuration is invalid is also told
// where.
func (s *subject) failsWell(err error, code provider.Code, what string) error {
	if err := wantCode(err, code, what); err != nil || code != provider.InvalidConfig {
		return err
	}
	e, _ := errors.AsType[*provider.Error](err)
	if first, _, _ := strings.Cut(e.Attribute, "."); !s.has(first) {
		return fmt.Errorf("%s fails with the Attribute %q, which is not in the schema", what, e.Attribute)
	}
	return nil
}

// has reports whether the schema has an attribute or a block of this name.
func (s *subject) has(name string) bool {
	return slices.ContainsFunc(s.Schema.Attributes, func(a provider.Attribute) bool { return a.Name == name }) ||
		slices.ContainsFunc(s.Schema.Blocks, func(b provider.BlockSchema) bool { return b.Type == name })
}
