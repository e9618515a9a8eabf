package wire

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// WriteMirror implements [provider.Mirror].
func (i *Instance) WriteMirror(ctx context.Context, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
	resp, err := i.client.keys.WriteMirror(ctx, toWriteMirror(i.id, req), limits()...)
	if err != nil {
		return provider.WriteMirrorResponse{}, callFailed(ctx, err)
	}
	head, err := fromOptionalHead(resp.GetHead())
	if err != nil {
		return provider.WriteMirrorResponse{}, refused(err)
	}
	return provider.WriteMirrorResponse{Head: head}, nil
}

// ReadMirror implements [provider.Mirror].
func (i *Instance) ReadMirror(ctx context.Context, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
	resp, err := i.client.keys.ReadMirror(ctx, toReadMirror(i.id, req), limits()...)
	if err != nil {
		return provider.ReadMirrorResponse{}, callFailed(ctx, err)
	}
	out, err := fromMirrorContent(resp, req.Limit)
	if err != nil {
		return provider.ReadMirrorResponse{}, refused(err)
	}
	return out, nil
}

// CreateKey implements [provider.KeyCreator].
func (i *Instance) CreateKey(ctx context.Context, req provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	resp, err := i.client.keys.CreateKey(ctx, &providerv1.CreateKeyRequest{InstanceId: i.id, RequestId: req.RequestID}, limits()...)
	if err != nil {
		return provider.CreateKeyResponse{}, callFailed(ctx, err)
	}
	if err := checkKEK(resp.GetKekId(), resp.GetVersion()); err != nil {
		return provider.CreateKeyResponse{}, err
	}
	return provider.CreateKeyResponse{KEKID: resp.GetKekId(), Version: resp.GetVersion()}, nil
}

// SetVersionState implements [provider.VersionStateSetter].
func (i *Instance) SetVersionState(ctx context.Context, req provider.SetVersionStateRequest) error {
	_, err := i.client.keys.SetVersionState(ctx, &providerv1.SetVersionStateRequest{
		InstanceId: i.id, Version: req.Version, State: toKeyState(req.State),
	}, limits()...)
	return callFailed(ctx, err)
}
