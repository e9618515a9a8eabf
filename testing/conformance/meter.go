package conformance

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/channelz/grpc_channelz_v1"
	"google.golang.org/grpc/channelz/service"
)

// meter reads gRPC's own counters (channelz), which is how to know that a call has
// been sent to a process that cannot answer.
type meter struct {
	counters grpc_channelz_v1.ChannelzServer
}

// catcher takes the counters from where a server would be given them.
type catcher struct{ service any }

func (c *catcher) RegisterService(_ *grpc.ServiceDesc, impl any) { c.service = impl }

func newMeter() meter {
	var c catcher
	service.RegisterChannelzServiceToServer(&c)
	return meter{c.service.(grpc_channelz_v1.ChannelzServer)}
}

// sent is the number of messages that were sent over sockets in a directory.
func (m meter) sent(ctx context.Context, dir string) (total int64, err error) {
	for next := int64(0); ; {
		page, err := m.counters.GetTopChannels(ctx, &grpc_channelz_v1.GetTopChannelsRequest{StartChannelId: next})
		if err != nil {
			return 0, err
		}
		for _, channel := range page.GetChannel() {
			for _, ref := range channel.GetSubchannelRef() {
				total += m.sentBy(ctx, ref, dir)
			}
			next = channel.GetRef().GetChannelId() + 1
		}
		if page.GetEnd() {
			return total, nil
		}
	}
}

// sentBy counts nothing for what has gone meanwhile.
func (m meter) sentBy(ctx context.Context, ref *grpc_channelz_v1.SubchannelRef, dir string) (total int64) {
	sub, err := m.counters.GetSubchannel(ctx, &grpc_channelz_v1.GetSubchannelRequest{SubchannelId: ref.GetSubchannelId()})
	if err != nil {
		return 0
	}
	for _, ref := range sub.GetSubchannel().GetSocketRef() {
		resp, err := m.counters.GetSocket(ctx, &grpc_channelz_v1.GetSocketRequest{SocketId: ref.GetSocketId()})
		if err != nil {
			continue
		}
		socket := resp.GetSocket()
		if strings.HasPrefix(socket.GetRemote().GetUdsAddress().GetFilename(), dir) {
			total += socket.GetData().GetMessagesSent()
		}
	}
	return total
}
