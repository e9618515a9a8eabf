package wire

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// requireCapability refuses a call before anything is done.
func (s *Server) requireCapability(c provider.Capability) error {
	if s.info.Capabilities.Has(c) {
		return nil
	}
	return provider.Errorf(provider.Unsupported, "the plugin %s lacks the capability %q", s.info.Name, c)
}

// acquireOptional acquires an instance whose key manager implements the
// interface that goes with a capability.
func acquireOptional[Optional any](s *Server, id string, c provider.Capability) (*instance, Optional, error) {
	var none Optional
	if err := s.requireCapability(c); err != nil {
		return nil, none, err
	}
	i, err := s.acquire(id)
	if err != nil {
		return nil, none, err
	}
	optional, ok := i.manager.(Optional)
	if !ok {
		i.calls.Done()
		return nil, none, provider.Errorf(provider.Unsupported,
			"the plugin %s lists the capability %q, which its key manager does not implement", s.info.Name, c)
	}
	return i, optional, nil
}

func (k keyManagerService) WriteMirror(ctx context.Context, req *providerv1.WriteMirrorRequest) (*providerv1.WriteMirrorResponse, error) {
	i, mirror, err := acquireOptional[provider.Mirror](k.server, req.GetInstanceId(), provider.CanMirror)
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	record, err := fromWriteMirror(req)
	if err != nil {
		return nil, provider.Errorf(provider.InvalidArgument, "WriteMirror: %w", err)
	}
	resp, err := mirror.WriteMirror(ctx, record)
	if err != nil {
		return nil, err
	}
	return &providerv1.WriteMirrorResponse{Head: toOptionalHead(resp.Head)}, nil
}

func (k keyManagerService) ReadMirror(ctx context.Context, req *providerv1.ReadMirrorRequest) (*providerv1.ReadMirrorResponse, error) {
	i, mirror, err := acquireOptional[provider.Mirror](k.server, req.GetInstanceId(), provider.CanMirror)
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	query, err := fromReadMirror(req)
	if err != nil {
		return nil, provider.Errorf(provider.InvalidArgument, "ReadMirror: %w", err)
	}
	resp, err := mirror.ReadMirror(ctx, query)
	if err != nil {
		return nil, err
	}
	return toMirrorContent(resp), nil
}

func (k keyManagerService) CreateKey(ctx context.Context, req *providerv1.CreateKeyRequest) (*providerv1.CreateKeyResponse, error) {
	i, creator, err := acquireOptional[provider.KeyCreator](k.server, req.GetInstanceId(), provider.CanCreateKey)
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	resp, err := creator.CreateKey(ctx, provider.CreateKeyRequest{RequestID: req.GetRequestId()})
	if err != nil {
		return nil, err
	}
	return &providerv1.CreateKeyResponse{KekId: resp.KEKID, Version: resp.Version}, nil
}

func (k keyManagerService) SetVersionState(ctx context.Context, req *providerv1.SetVersionStateRequest) (*providerv1.SetVersionStateResponse, error) {
	i, setter, err := acquireOptional[provider.VersionStateSetter](k.server, req.GetInstanceId(), provider.CanSetVersionState)
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	state := fromKeyState(req.GetState())
	if req.GetVersion() == "" || state == "" {
		return nil, provider.Errorf(provider.InvalidArgument, "SetVersionState needs a version and a known state, got %q and %d", req.GetVersion(), req.GetState())
	}
	if err := setter.SetVersionState(ctx, provider.SetVersionStateRequest{Version: req.GetVersion(), State: state}); err != nil {
		return nil, err
	}
	return &providerv1.SetVersionStateResponse{}, nil
}
