// Command echo is a provider plugin that does nothing: it shows what a call costs
// on its way.
package main

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/plugins/sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{
		Info:   provider.Info{Name: "echo", Version: "1.0.0"},
		Schema: provider.Schema{Doc: "Answers what it was sent."},
		New:    func(context.Context, provider.Config) (provider.KeyManager, error) { return echo{}, nil },
	})
}

// echo answers every root as its own wrap.
type echo struct{}

func (echo) Check(context.Context, provider.CheckRequest) (provider.CheckResponse, error) {
	return provider.CheckResponse{}, nil
}

func (echo) DescribeKey(context.Context) (provider.DescribeKeyResponse, error) {
	return provider.DescribeKeyResponse{}, unsupported()
}

func (echo) GenerateDataKey(context.Context, provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	return provider.GenerateDataKeyResponse{}, unsupported()
}

func (echo) Wrap(_ context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	results := make([]provider.WrapResult, len(items))
	for i, item := range items {
		results[i].Wrapped = provider.Wrapped{KEKID: "echo", Blob: append([]byte(nil), item.Plaintext.Reveal()...)}
	}
	return results, nil
}

func (echo) Unwrap(context.Context, []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	return nil, unsupported()
}

func (echo) Rewrap(context.Context, []provider.UnwrapItem) ([]provider.WrapResult, error) {
	return nil, unsupported()
}

func (echo) RotateKey(context.Context, provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	return provider.RotateKeyResponse{}, unsupported()
}

func (echo) Close() error { return nil }

func unsupported() error { return provider.Errorf(provider.Unsupported, "echo only wraps") }
