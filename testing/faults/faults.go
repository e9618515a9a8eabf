// Package faults gives tests a key manager that can be made to fail or to lie. The
// real local provider stands behind it, so everything that is not broken on
// purpose is as it is in production.
package faults

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/local"
)

// KeyManager passes every call on to a real provider, but for what its hooks change.
type KeyManager struct {
	provider.KeyManager
	// Calls counts the calls that reach a key manager.
	Calls atomic.Int64

	mu         sync.Mutex
	info       provider.Info
	before     func(ctx context.Context, call string) error
	onWrap     func([]provider.WrapResult)
	onUnwrap   func([]provider.UnwrapResult)
	onRewrap   func([]provider.WrapResult) []provider.WrapResult
	onRotate   func(*provider.RotateKeyResponse) error
	onDescribe func(*provider.DescribeKeyResponse)
}

// NewLocal makes a key manager with a key-encryption key in a file of its own.
func NewLocal(t testing.TB) *KeyManager {
	t.Helper()
	km, err := local.New(t.Context(), provider.Config{Instance: "test", Body: provider.Body{
		Attributes: map[string]any{"path": filepath.Join(t.TempDir(), "test.kek")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = km.Close() })
	if _, err := km.(provider.KeyCreator).CreateKey(t.Context(), provider.CreateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	return &KeyManager{KeyManager: km, info: local.Info("test")}
}

// Before runs in front of every call, which fails if it does; nil removes it.
func (k *KeyManager) Before(f func(ctx context.Context, call string) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before = f
}

// OnWrap may change the answers of Wrap.
func (k *KeyManager) OnWrap(f func([]provider.WrapResult)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onWrap = f
}

// OnUnwrap may change the answers of Unwrap.
func (k *KeyManager) OnUnwrap(f func([]provider.UnwrapResult)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onUnwrap = f
}

// OnRewrap may change the answers of Rewrap, and how many there are.
func (k *KeyManager) OnRewrap(f func([]provider.WrapResult) []provider.WrapResult) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onRewrap = f
}

// OnRotate may change the answer of a rotation that took place, or lose it.
func (k *KeyManager) OnRotate(f func(*provider.RotateKeyResponse) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onRotate = f
}

// OnDescribe may change what the key is described as.
func (k *KeyManager) OnDescribe(f func(*provider.DescribeKeyResponse)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onDescribe = f
}

// SetCapabilities replaces what the provider says it can do.
func (k *KeyManager) SetCapabilities(cs ...provider.Capability) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.info.Capabilities = cs
}

// Info implements what the engine asks beside the contract.
func (k *KeyManager) Info() provider.Info {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.info
}

func (k *KeyManager) call(ctx context.Context, name string) error {
	k.Calls.Add(1)
	k.mu.Lock()
	before := k.before
	k.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(ctx, name)
}

// GenerateDataKey implements provider.KeyManager.
func (k *KeyManager) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	if err := k.call(ctx, "GenerateDataKey"); err != nil {
		return provider.GenerateDataKeyResponse{}, err
	}
	return k.KeyManager.GenerateDataKey(ctx, req)
}

// Wrap implements provider.KeyManager.
func (k *KeyManager) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	if err := k.call(ctx, "Wrap"); err != nil {
		return nil, err
	}
	results, err := k.KeyManager.Wrap(ctx, items)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && k.onWrap != nil {
		k.onWrap(results)
	}
	return results, err
}

// Unwrap implements provider.KeyManager.
func (k *KeyManager) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	if err := k.call(ctx, "Unwrap"); err != nil {
		return nil, err
	}
	results, err := k.KeyManager.Unwrap(ctx, items)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && k.onUnwrap != nil {
		k.onUnwrap(results)
	}
	return results, err
}

// Rewrap implements provider.KeyManager.
func (k *KeyManager) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	if err := k.call(ctx, "Rewrap"); err != nil {
		return nil, err
	}
	results, err := k.KeyManager.Rewrap(ctx, items)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && k.onRewrap != nil {
		results = k.onRewrap(results)
	}
	return results, err
}

// RotateKey implements provider.KeyManager.
func (k *KeyManager) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	if err := k.call(ctx, "RotateKey"); err != nil {
		return provider.RotateKeyResponse{}, err
	}
	answer, err := k.KeyManager.RotateKey(ctx, req)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && k.onRotate != nil {
		err = k.onRotate(&answer)
	}
	return answer, err
}

// DescribeKey implements provider.KeyManager.
func (k *KeyManager) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	if err := k.call(ctx, "DescribeKey"); err != nil {
		return provider.DescribeKeyResponse{}, err
	}
	d, err := k.KeyManager.DescribeKey(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && k.onDescribe != nil {
		k.onDescribe(&d)
	}
	return d, err
}
