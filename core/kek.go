package core

import (
	"context"

	"github.com/keyrotor/keyrotor/core/rewrap"
)

// DescribeKEK asks a provider about its key-encryption key, and counts the wraps that
// stand under each version of it.
func (kr *Keyrotor) DescribeKEK(ctx context.Context, provider string) (rewrap.KEK, error) {
	return kr.mover.DescribeKEK(ctx, provider)
}

// RotateKEK has the key manager make a new version of a provider's key-encryption key,
// and brings all wraps to it. Called again after a crash, it goes on.
func (kr *Keyrotor) RotateKEK(ctx context.Context, req rewrap.KEKRequest) (rewrap.KEKRotation, error) {
	return kr.mover.RotateKEK(ctx, req)
}

// RewrapKEK brings all wraps of a provider to the primary version of its
// key-encryption key, and records that somebody else rotated that, if so.
func (kr *Keyrotor) RewrapKEK(ctx context.Context, req rewrap.KEKRequest) (rewrap.KEKReport, error) {
	return kr.mover.RewrapKEK(ctx, req)
}

// Migrate moves keys from one provider to another. No ciphertext is touched, and every
// version can be read at any moment. Called again after a crash, it goes on.
func (kr *Keyrotor) Migrate(ctx context.Context, req rewrap.MigrationRequest) (rewrap.MigrationReport, error) {
	return kr.mover.Migrate(ctx, req)
}

// WrappedBy lists the keys that a provider wraps.
func (kr *Keyrotor) WrappedBy(ctx context.Context, provider string) ([]string, error) {
	return kr.mover.WrappedBy(ctx, provider)
}
