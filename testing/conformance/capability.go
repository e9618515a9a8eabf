package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

func capabilityCases() []testCase {
	return []testCase{
		{name: "capability/kept", test: onKEK(testCapabilityKept)},
		{name: "capability/refused", test: onKEK(testCapabilityRefused)},
	}
}

// need is a call that a capability stands for.
type need struct {
	capability provider.Capability
	call       string
	do         func(context.Context) error
}

// needs lists those calls, in a form that changes nothing if it can. A provider that
// does not implement an interface is as one that refuses its calls.
func (k *kek) needs(primary string) []need {
	missing := provider.Errorf(provider.Unsupported, "the key manager does not implement the interface")
	return []need{
		{provider.CanRotateKey, "RotateKey", func(ctx context.Context) error {
			_, err := k.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: primary, RequestID: "request"})
			return err
		}},
		{provider.CanMirror, "ReadMirror", func(ctx context.Context) error {
			m, ok := k.KeyManager.(provider.Mirror)
			if !ok {
				return missing
			}
			_, err := m.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: [16]byte{1}, Limit: 1})
			return err
		}},
		{provider.CanMirror, "WriteMirror", func(ctx context.Context) error {
			m, ok := k.KeyManager.(provider.Mirror)
			if !ok {
				return missing
			}
			_, err := m.WriteMirror(ctx, mirrorRecord([16]byte{1}, 1, 1))
			return err
		}},
		{provider.CanCreateKey, "CreateKey", func(ctx context.Context) error {
			c, ok := k.KeyManager.(provider.KeyCreator)
			if !ok {
				return missing
			}
			_, err := c.CreateKey(ctx, provider.CreateKeyRequest{RequestID: "request"})
			return err
		}},
		{provider.CanSetVersionState, "SetVersionState", func(ctx context.Context) error {
			v, ok := k.KeyManager.(provider.VersionStateSetter)
			if !ok {
				return missing
			}
			return v.SetVersionState(ctx, provider.SetVersionStateRequest{Version: primary, State: provider.KeyEnabled})
		}},
	}
}

// testCapabilityKept: what is listed is there.
func testCapabilityKept(ctx context.Context, k *kek) error {
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	for _, n := range k.needs(d.PrimaryVersion) {
		if !k.can(n.capability) {
			continue
		}
		if err := n.do(ctx); errors.Is(err, provider.Unsupported) {
			return fmt.Errorf("%q is listed, and %s fails with %w", n.capability, n.call, err)
		}
	}
	return nil
}

// testCapabilityRefused: what is not listed is refused before anything is done.
func testCapabilityRefused(ctx context.Context, k *kek) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	for _, n := range k.needs(before.PrimaryVersion) {
		if k.can(n.capability) || !k.s.refusesByItself(n.capability) {
			continue
		}
		if err := wantCode(n.do(ctx), provider.Unsupported, fmt.Sprintf("%s without %q", n.call, n.capability)); err != nil {
			return err
		}
	}
	return k.unchanged(ctx, before)
}

// refusesByItself: behind an interface that is optional the wire refuses, for there a
// provider may implement what a key manager of another edition lacks.
func (s *subject) refusesByItself(c provider.Capability) bool {
	_, unguarded := s.way.(direct)
	return !unguarded || c == provider.CanRotateKey
}
