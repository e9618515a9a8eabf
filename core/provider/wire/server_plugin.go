package wire

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// pluginService answers what concerns the plugin and its instances.
type pluginService struct {
	providerv1.UnimplementedPluginServiceServer
	server *Server
}

func (p pluginService) GetInfo(context.Context, *providerv1.GetInfoRequest) (*providerv1.GetInfoResponse, error) {
	return toInfo(p.server.info)
}

func (p pluginService) GetSchema(context.Context, *providerv1.GetSchemaRequest) (*providerv1.GetSchemaResponse, error) {
	schema, err := toSchema(p.server.schema)
	if err != nil {
		return nil, err
	}
	return &providerv1.GetSchemaResponse{Schema: schema}, nil
}

func (p pluginService) Configure(ctx context.Context, req *providerv1.ConfigureRequest) (*providerv1.ConfigureResponse, error) {
	if err := p.server.configure(ctx, req.GetInstanceId(), req.GetConfig()); err != nil {
		return nil, err
	}
	return &providerv1.ConfigureResponse{}, nil
}

func (p pluginService) Check(ctx context.Context, req *providerv1.CheckRequest) (*providerv1.CheckResponse, error) {
	i, err := p.server.acquire(req.GetInstanceId())
	if err != nil {
		return nil, err
	}
	defer i.calls.Done()
	resp, err := i.manager.Check(ctx, provider.CheckRequest{Deep: req.GetDeep()})
	if err != nil {
		return nil, err
	}
	return &providerv1.CheckResponse{
		Identity: resp.Identity, Account: resp.Account, Latency: durationpb.New(resp.Latency),
	}, nil
}

func (p pluginService) Close(ctx context.Context, req *providerv1.CloseRequest) (*providerv1.CloseResponse, error) {
	if err := p.server.release(ctx, req.GetInstanceId()); err != nil {
		return nil, err
	}
	return &providerv1.CloseResponse{}, nil
}
