package wire

import (
	"cmp"
	"context"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// closeTimeout bounds [Instance.Close], which has no context.
const closeTimeout = 5 * time.Second

// Instance is a configured instance in the plugin, seen from the host. It
// implements every optional interface too; a plugin without the capability
// answers [provider.Unsupported].
type Instance struct {
	client *Client
	id     string
}

var (
	_ provider.KeyManager         = (*Instance)(nil)
	_ provider.Mirror             = (*Instance)(nil)
	_ provider.KeyCreator         = (*Instance)(nil)
	_ provider.VersionStateSetter = (*Instance)(nil)
)

// Check implements [provider.KeyManager].
func (i *Instance) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	resp, err := i.client.plugin.Check(ctx, &providerv1.CheckRequest{InstanceId: i.id, Deep: req.Deep}, limits()...)
	if err != nil {
		return provider.CheckResponse{}, callFailed(ctx, err)
	}
	if err := cmp.Or(checkPrintable("identity", resp.GetIdentity()), checkPrintable("account", resp.GetAccount())); err != nil {
		return provider.CheckResponse{}, err
	}
	return provider.CheckResponse{
		Identity: resp.GetIdentity(), Account: resp.GetAccount(), Latency: max(0, resp.GetLatency().AsDuration()),
	}, nil
}

// DescribeKey implements [provider.KeyManager].
func (i *Instance) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	resp, err := i.client.keys.DescribeKey(ctx, &providerv1.DescribeKeyRequest{InstanceId: i.id}, limits()...)
	if err != nil {
		return provider.DescribeKeyResponse{}, callFailed(ctx, err)
	}
	out, err := fromDescribeKey(resp)
	if err != nil {
		return provider.DescribeKeyResponse{}, refused(err)
	}
	return out, nil
}

// GenerateDataKey implements [provider.KeyManager].
func (i *Instance) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	resp, err := i.client.keys.GenerateDataKey(ctx, &providerv1.GenerateDataKeyRequest{InstanceId: i.id, Aad: req.AAD}, limits()...)
	if err != nil {
		return provider.GenerateDataKeyResponse{}, callFailed(ctx, err)
	}
	out, err := fromGenerateDataKey(resp)
	if err != nil {
		clear(resp.GetPlaintext())
		return provider.GenerateDataKeyResponse{}, refused(err)
	}
	return out, nil
}

// Wrap implements [provider.KeyManager].
func (i *Instance) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	resp, err := i.client.keys.Wrap(ctx, &providerv1.WrapRequest{InstanceId: i.id, Items: toWrapItems(items)}, limits()...)
	if err != nil {
		return nil, callFailed(ctx, err)
	}
	results, err := fromWrapResults(resp.GetResults(), len(items))
	if err != nil {
		return nil, refused(err)
	}
	return results, nil
}

// Unwrap implements [provider.KeyManager].
func (i *Instance) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	resp, err := i.client.keys.Unwrap(ctx, &providerv1.UnwrapRequest{InstanceId: i.id, Items: toUnwrapItems(items)}, limits()...)
	if err != nil {
		return nil, callFailed(ctx, err)
	}
	results, err := fromUnwrapResults(resp.GetResults(), items)
	if err != nil {
		return nil, refused(err)
	}
	return results, nil
}

// Rewrap implements [provider.KeyManager].
func (i *Instance) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	resp, err := i.client.keys.Rewrap(ctx, &providerv1.RewrapRequest{InstanceId: i.id, Items: toRewrapItems(items)}, limits()...)
	if err != nil {
		return nil, callFailed(ctx, err)
	}
	results, err := fromWrapResults(resp.GetResults(), len(items))
	if err != nil {
		return nil, refused(err)
	}
	return results, nil
}

// RotateKey implements [provider.KeyManager].
func (i *Instance) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	resp, err := i.client.keys.RotateKey(ctx, &providerv1.RotateKeyRequest{
		InstanceId: i.id, ExpectedVersion: req.ExpectedVersion, RequestId: req.RequestID,
	}, limits()...)
	if err != nil {
		return provider.RotateKeyResponse{}, callFailed(ctx, err)
	}
	out := provider.RotateKeyResponse{OldVersion: resp.GetOldVersion(), NewVersion: resp.GetNewVersion(), Pending: resp.GetPending()}
	if err := checkRotated(req.ExpectedVersion, out); err != nil {
		return provider.RotateKeyResponse{}, err
	}
	return out, nil
}

// Close releases the instance in the plugin; it gives up after five seconds.
func (i *Instance) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return i.client.CloseInstance(ctx, i.id)
}
