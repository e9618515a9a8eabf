package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// subject is the provider under test, as one case sees it.
type subject struct {
	*Harness
	t    testing.TB
	way  way
	name string // of the case

	instances int
}

// open answers an instance, which is closed with the case.
func (s *subject) open(ctx context.Context, body provider.Body) (provider.KeyManager, error) {
	s.instances++
	km, err := s.way.open(ctx, fmt.Sprintf("%s-%d", strings.ReplaceAll(s.name, "/", "-"), s.instances), body)
	if err != nil {
		return nil, err
	}
	if km == nil {
		return nil, errors.New("the constructor answers neither a key manager nor an error")
	}
	s.t.Cleanup(func() { within(closeTimeout, func() { _ = km.Close() }) })
	return km, nil
}

// kek is a key-encryption key that no other case uses, and an instance for it.
type kek struct {
	provider.KeyManager
	s    *subject
	body provider.Body
}

// newKEK answers a key that exists.
func (s *subject) newKEK(ctx context.Context) (*kek, error) {
	k, err := s.openKEK(ctx, s.KEK(s.t))
	if err != nil {
		return nil, err
	}
	if !s.Info.Capabilities.Has(provider.CanCreateKey) {
		return k, nil
	}
	if _, err := k.create(ctx, "create"); err != nil {
		return nil, fmt.Errorf("CreateKey: %w", err)
	}
	return k, nil
}

// onKEK makes the test of a case that starts from a key of its own.
func onKEK(test func(context.Context, *kek) error) func(context.Context, *subject) error {
	return func(ctx context.Context, s *subject) error {
		k, err := s.newKEK(ctx)
		if err != nil {
			return err
		}
		return test(ctx, k)
	}
}

// openKEK answers a key that may not exist.
func (s *subject) openKEK(ctx context.Context, body provider.Body) (*kek, error) {
	km, err := s.open(ctx, body)
	if err != nil {
		return nil, fmt.Errorf("the configuration is refused: %w", err)
	}
	return &kek{KeyManager: km, s: s, body: body}, nil
}

// again answers another instance for the same key.
func (k *kek) again(ctx context.Context) (*kek, error) { return k.s.openKEK(ctx, k.body) }

// can reports whether the provider lists all of the capabilities.
func (k *kek) can(cs ...provider.Capability) bool {
	return testCase{needs: cs}.concerns(k.s.Info)
}

// optional answers the interface that goes with a capability.
func optional[T any](k *kek) (T, error) {
	o, ok := k.KeyManager.(T)
	if !ok {
		return o, fmt.Errorf("the key manager is a %T, which does not implement %T", k.KeyManager, &o)
	}
	return o, nil
}

func (k *kek) create(ctx context.Context, id string) (provider.CreateKeyResponse, error) {
	creator, err := optional[provider.KeyCreator](k)
	if err != nil {
		return provider.CreateKeyResponse{}, err
	}
	return creator.CreateKey(ctx, provider.CreateKeyRequest{RequestID: id})
}

func (k *kek) setState(ctx context.Context, version string, state provider.KeyState) error {
	setter, err := optional[provider.VersionStateSetter](k)
	if err != nil {
		return err
	}
	return setter.SetVersionState(ctx, provider.SetVersionStateRequest{Version: version, State: state})
}

func (k *kek) describe(ctx context.Context) (provider.DescribeKeyResponse, error) {
	d, err := k.DescribeKey(ctx)
	if err != nil {
		return d, fmt.Errorf("DescribeKey: %w", err)
	}
	return d, nil
}

// unchanged answers what differs from before.
func (k *kek) unchanged(ctx context.Context, before provider.DescribeKeyResponse) error {
	after, err := k.describe(ctx)
	if err != nil {
		return err
	}
	if got, want := fmt.Sprint(after), fmt.Sprint(before); got != want {
		return fmt.Errorf("DescribeKey answered %s before and %s after", want, got)
	}
	return nil
}

// rotate makes a new version, which is the primary afterwards.
func (k *kek) rotate(ctx context.Context) (before, after provider.DescribeKeyResponse, err error) {
	if before, err = k.describe(ctx); err != nil {
		return before, after, err
	}
	res, err := k.RotateKey(ctx, provider.RotateKeyRequest{
		ExpectedVersion: before.PrimaryVersion, RequestID: "rotate " + before.PrimaryVersion,
	})
	if err != nil {
		return before, after, fmt.Errorf("RotateKey: %w", err)
	}
	after, err = k.moved(ctx, before, res)
	return before, after, err
}

// moved answers the key after a rotation. One that is pending may take its time.
func (k *kek) moved(ctx context.Context, before provider.DescribeKeyResponse, res provider.RotateKeyResponse) (after provider.DescribeKeyResponse, err error) {
	err = eventually(ctx, "DescribeKey names a new primary after a rotation that is pending", func() (bool, error) {
		if after, err = k.describe(ctx); err != nil {
			return false, err
		}
		if after.PrimaryVersion == before.PrimaryVersion && !res.Pending {
			return false, fmt.Errorf("after RotateKey answered %+v DescribeKey still names the primary %q", res, after.PrimaryVersion)
		}
		return after.PrimaryVersion != before.PrimaryVersion, nil
	})
	return after, err
}

// wrap wraps one root. The provider is given copies.
func (k *kek) wrap(ctx context.Context, root, aad []byte) (provider.Wrapped, error) {
	results, err := k.Wrap(ctx, []provider.WrapItem{{Plaintext: provider.NewSecret(bytes.Clone(root)), AAD: bytes.Clone(aad)}})
	if err := answered("Wrap", results, 1, err); err != nil {
		return provider.Wrapped{}, err
	}
	return results[0].Wrapped, results[0].Err
}

// unwrap opens one wrap. The provider is given copies.
func (k *kek) unwrap(ctx context.Context, w provider.Wrapped, aad []byte) (provider.UnwrapResult, error) {
	results, err := k.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: cloneWrapped(w), AAD: bytes.Clone(aad)}})
	if err := answered("Unwrap", results, 1, err); err != nil {
		return provider.UnwrapResult{}, err
	}
	return results[0], results[0].Err
}

// rewrap moves one wrap. The provider is given copies.
func (k *kek) rewrap(ctx context.Context, w provider.Wrapped, aad []byte) (provider.Wrapped, error) {
	results, err := k.Rewrap(ctx, []provider.UnwrapItem{{Wrapped: cloneWrapped(w), AAD: bytes.Clone(aad)}})
	if err := answered("Rewrap", results, 1, err); err != nil {
		return provider.Wrapped{}, err
	}
	return results[0].Wrapped, results[0].Err
}

// answered checks that a batch has one result an item.
func answered[T any](call string, results []T, items int, err error) error {
	if err != nil {
		return err
	}
	if len(results) != items {
		return fmt.Errorf("%s answers %d results for %d items", call, len(results), items)
	}
	return nil
}

// opens answers why a wrap does not open to the root.
func (k *kek) opens(ctx context.Context, w provider.Wrapped, aad, root []byte) error {
	res, err := k.unwrap(ctx, w, aad)
	if err != nil {
		return fmt.Errorf("a wrap does not open: %w", err)
	}
	if !bytes.Equal(res.Plaintext.Reveal(), root) {
		return errors.New("a wrap opens to another root")
	}
	return nil
}

// newWrap wraps a new root.
func (k *kek) newWrap(ctx context.Context, aad []byte) (w provider.Wrapped, root []byte, err error) {
	root = newRoot()
	if w, err = k.wrap(ctx, root, aad); err != nil {
		return w, root, fmt.Errorf("Wrap: %w", err)
	}
	return w, root, nil
}

func newRoot() []byte {
	root := make([]byte, provider.RootSize)
	_, _ = rand.Read(root) // never fails, says crypto/rand
	return root
}
