package wire

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// Client speaks to one plugin process. It is safe for concurrent use. Its
// errors are of type [*provider.Error], or the context's own. It sets no
// deadlines and retries nothing: that is the host's concern.
type Client struct {
	plugin providerv1.PluginServiceClient
	keys   providerv1.KeyManagerServiceClient
}

// NewClient speaks over a connection that the caller keeps and closes.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{plugin: providerv1.NewPluginServiceClient(conn), keys: providerv1.NewKeyManagerServiceClient(conn)}
}

// Info names the plugin. Capabilities that this host does not know are left out.
func (c *Client) Info(ctx context.Context) (provider.Info, error) {
	resp, err := c.plugin.GetInfo(ctx, &providerv1.GetInfoRequest{}, limits()...)
	if err != nil {
		return provider.Info{}, callFailed(ctx, err)
	}
	info, err := fromInfo(resp)
	if err != nil {
		return provider.Info{}, refused(err)
	}
	return info, nil
}

// Schema answers what a provider block of this plugin looks like.
func (c *Client) Schema(ctx context.Context) (provider.Schema, error) {
	resp, err := c.plugin.GetSchema(ctx, &providerv1.GetSchemaRequest{}, limits()...)
	if err != nil {
		return provider.Schema{}, callFailed(ctx, err)
	}
	if resp.GetSchema() == nil {
		return provider.Schema{}, refused(errors.New("it holds no schema"))
	}
	if err := checkSize(resp.GetSchema()); err != nil {
		return provider.Schema{}, err
	}
	schema, err := fromSchema(resp.GetSchema(), 0)
	if err != nil {
		return provider.Schema{}, refused(err)
	}
	return schema, nil
}

// Configure sets up the instance of this id, or replaces its configuration: on
// an error the instance is as it was. The body may hold secrets; they are sent
// as strings, which Go cannot wipe.
func (c *Client) Configure(ctx context.Context, id string, body provider.Body) error {
	config, err := toBody("", body)
	if err != nil {
		return err
	}
	_, err = c.plugin.Configure(ctx, &providerv1.ConfigureRequest{InstanceId: id, Config: config}, limits()...)
	return callFailed(ctx, err)
}

// Instance works on the instance of this id. It calls nothing by itself: an id
// that was not configured answers [provider.NotFoundInstance] when it is used.
func (c *Client) Instance(id string) *Instance {
	return &Instance{client: c, id: id}
}

// CloseInstance releases an instance; an unknown one is released already.
func (c *Client) CloseInstance(ctx context.Context, id string) error {
	_, err := c.plugin.Close(ctx, &providerv1.CloseRequest{InstanceId: id}, limits()...)
	return callFailed(ctx, err)
}

// limits are set on every call, because go-plugin's own connection allows
// messages of 2 GiB.
func limits() []grpc.CallOption {
	return []grpc.CallOption{grpc.MaxCallSendMsgSize(MaxMessage), grpc.MaxCallRecvMsgSize(MaxMessage)}
}

// callFailed reads the error of a call. A canceled call while the caller's own
// context lives means that the connection was closed under it.
func callFailed(ctx context.Context, err error) error {
	err = FromStatus(err)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return provider.Errorf(provider.PluginCrashed, "the connection to the plugin was closed during the call")
	}
	return err
}
