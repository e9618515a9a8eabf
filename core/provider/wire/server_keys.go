package wire

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// keyManagerService answers what concerns one instance's key-encryption key.
type keyManagerService struct {
	providerv1.UnimplementedKeyManagerServiceServer
	server *Server
}

func (k keyManagerService) DescribeKey(ctx context.Context, req *providerv1.DescribeKeyRequest) (*providerv1.DescribeKeyResponse, error) {
	i, err := k.server.acquire(req.GetInstanceId())
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	resp, err := i.manager.DescribeKey(ctx)
	if err != nil {
		return nil, err
	}
	return toDescribeKey(resp)
}

func (k keyManagerService) GenerateDataKey(ctx context.Context, req *providerv1.GenerateDataKeyRequest) (*providerv1.GenerateDataKeyResponse, error) {
	i, err := k.server.acquire(req.GetInstanceId())
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	resp, err := i.manager.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{AAD: req.GetAad()})
	if err != nil {
		resp.Plaintext.Wipe()
		return nil, err
	}
	return &providerv1.GenerateDataKeyResponse{Wrapped: toWrapped(resp.Wrapped), Plaintext: resp.Plaintext.Reveal()}, nil
}

// Wrap wipes the roots when it is done: they are this call's own copies. The
// provider neither keeps nor wipes them; without a process in between they are
// the caller's, who may have them wrapped by the next provider.
func (k keyManagerService) Wrap(ctx context.Context, req *providerv1.WrapRequest) (*providerv1.WrapResponse, error) {
	items := fromWrapItems(req.GetItems())
	defer func() {
		for _, item := range items {
			item.Plaintext.Wipe()
		}
	}()
	i, err := k.server.acquire(req.GetInstanceId())
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	results, err := i.manager.Wrap(ctx, items)
	if err != nil {
		return nil, err
	}
	return &providerv1.WrapResponse{Results: toWrapResults(results)}, nil
}

func (k keyManagerService) Unwrap(ctx context.Context, req *providerv1.UnwrapRequest) (*providerv1.UnwrapResponse, error) {
	i, err := k.server.acquire(req.GetInstanceId())
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	results, err := i.manager.Unwrap(ctx, fromBoundWraps(req.GetItems()))
	wipeUnanswered(results, err)
	if err != nil {
		return nil, err
	}
	return &providerv1.UnwrapResponse{Results: toUnwrapResults(results)}, nil
}

// wipeUnanswered wipes the plaintexts that do not go on the wire, because an
// error goes in their place.
func wipeUnanswered(results []provider.UnwrapResult, err error) {
	for _, r := range results {
		if err != nil || r.Err != nil {
			r.Plaintext.Wipe()
		}
	}
}

func (k keyManagerService) Rewrap(ctx context.Context, req *providerv1.RewrapRequest) (*providerv1.RewrapResponse, error) {
	i, err := k.server.acquire(req.GetInstanceId())
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	results, err := i.manager.Rewrap(ctx, fromBoundWraps(req.GetItems()))
	if err != nil {
		return nil, err
	}
	return &providerv1.RewrapResponse{Results: toRewrapResults(results)}, nil
}

func (k keyManagerService) RotateKey(ctx context.Context, req *providerv1.RotateKeyRequest) (*providerv1.RotateKeyResponse, error) {
	if err := k.server.requireCapability(provider.CanRotateKey); err != nil {
		return nil, err
	}
	i, err := k.server.acquire(req.GetInstanceId())
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	resp, err := i.manager.RotateKey(ctx, provider.RotateKeyRequest{
		ExpectedVersion: req.GetExpectedVersion(), RequestID: req.GetRequestId(),
	})
	if err != nil {
		return nil, err
	}
	return &providerv1.RotateKeyResponse{OldVersion: resp.OldVersion, NewVersion: resp.NewVersion, Pending: resp.Pending}, nil
}
