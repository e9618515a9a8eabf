package conformance

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
)

// bent is a provider that is right in everything but the methods that it replaces.
type bent struct {
	everything
	check    func(context.Context, provider.CheckRequest) (provider.CheckResponse, error)
	describe func(context.Context) (provider.DescribeKeyResponse, error)
	generate func(context.Context, provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error)
	wrap     func(context.Context, []provider.WrapItem) ([]provider.WrapResult, error)
	unwrap   func(context.Context, []provider.UnwrapItem) ([]provider.UnwrapResult, error)
	rewrap   func(context.Context, []provider.UnwrapItem) ([]provider.WrapResult, error)
	rotate   func(context.Context, provider.RotateKeyRequest) (provider.RotateKeyResponse, error)
	create   func(context.Context, provider.CreateKeyRequest) (provider.CreateKeyResponse, error)
	setState func(context.Context, provider.SetVersionStateRequest) error
	write    func(context.Context, provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error)
	read     func(context.Context, provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error)
	close    func() error
}

func (b *bent) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	if b.check != nil {
		return b.check(ctx, req)
	}
	return b.everything.Check(ctx, req)
}

func (b *bent) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	if b.describe != nil {
		return b.describe(ctx)
	}
	return b.everything.DescribeKey(ctx)
}

func (b *bent) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	if b.generate != nil {
		return b.generate(ctx, req)
	}
	return b.everything.GenerateDataKey(ctx, req)
}

func (b *bent) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	if b.wrap != nil {
		return b.wrap(ctx, items)
	}
	return b.everything.Wrap(ctx, items)
}

func (b *bent) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	if b.unwrap != nil {
		return b.unwrap(ctx, items)
	}
	return b.everything.Unwrap(ctx, items)
}

func (b *bent) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	if b.rewrap != nil {
		return b.rewrap(ctx, items)
	}
	return b.everything.Rewrap(ctx, items)
}

func (b *bent) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	if b.rotate != nil {
		return b.rotate(ctx, req)
	}
	return b.everything.RotateKey(ctx, req)
}

func (b *bent) CreateKey(ctx context.Context, req provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	if b.create != nil {
		return b.create(ctx, req)
	}
	return b.everything.CreateKey(ctx, req)
}

func (b *bent) SetVersionState(ctx context.Context, req provider.SetVersionStateRequest) error {
	if b.setState != nil {
		return b.setState(ctx, req)
	}
	return b.everything.SetVersionState(ctx, req)
}

func (b *bent) WriteMirror(ctx context.Context, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
	if b.write != nil {
		return b.write(ctx, req)
	}
	return b.everything.WriteMirror(ctx, req)
}

func (b *bent) ReadMirror(ctx context.Context, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
	if b.read != nil {
		return b.read(ctx, req)
	}
	return b.everything.ReadMirror(ctx, req)
}

func (b *bent) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.everything.Close()
}
