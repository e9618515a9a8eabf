package wire

import (
	"crypto/ed25519"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

func toWriteMirror(instance string, req provider.WriteMirrorRequest) *providerv1.WriteMirrorRequest {
	return &providerv1.WriteMirrorRequest{
		InstanceId: instance, StoreId: req.StoreID[:], Head: toMirrorHead(req.Head),
		Events: toMirrorEvents(req.Events), RequestId: req.RequestID,
	}
}

func fromWriteMirror(req *providerv1.WriteMirrorRequest) (provider.WriteMirrorRequest, error) {
	out := provider.WriteMirrorRequest{RequestID: req.GetRequestId()}
	if err := fill(out.StoreID[:], req.GetStoreId(), "store id"); err != nil {
		return provider.WriteMirrorRequest{}, err
	}
	head, err := fromMirrorHead(req.GetHead())
	if err != nil {
		return provider.WriteMirrorRequest{}, err
	}
	out.Head = head
	out.Events, err = fromMirrorEvents(req.GetEvents())
	return out, err
}

func toReadMirror(instance string, req provider.ReadMirrorRequest) *providerv1.ReadMirrorRequest {
	return &providerv1.ReadMirrorRequest{InstanceId: instance, StoreId: req.StoreID[:], FromSeq: req.FromSeq, Limit: req.Limit}
}

func fromReadMirror(req *providerv1.ReadMirrorRequest) (provider.ReadMirrorRequest, error) {
	out := provider.ReadMirrorRequest{FromSeq: req.GetFromSeq(), Limit: req.GetLimit()}
	err := fill(out.StoreID[:], req.GetStoreId(), "store id")
	return out, err
}

func toMirrorContent(r provider.ReadMirrorResponse) *providerv1.ReadMirrorResponse {
	return &providerv1.ReadMirrorResponse{
		Head: toOptionalHead(r.Head), Events: toMirrorEvents(r.Events), WriteOnly: r.WriteOnly,
	}
}

func fromMirrorContent(r *providerv1.ReadMirrorResponse, limit uint32) (provider.ReadMirrorResponse, error) {
	if n := len(r.GetEvents()); uint64(n) > uint64(limit) {
		return provider.ReadMirrorResponse{}, fmt.Errorf("%d events, at most %d were asked for", n, limit)
	}
	head, err := fromOptionalHead(r.GetHead())
	if err != nil {
		return provider.ReadMirrorResponse{}, err
	}
	events, err := fromMirrorEvents(r.GetEvents())
	if err != nil {
		return provider.ReadMirrorResponse{}, err
	}
	return provider.ReadMirrorResponse{Head: head, Events: events, WriteOnly: r.GetWriteOnly()}, nil
}

func toOptionalHead(h *provider.MirrorHead) *providerv1.MirrorHead {
	if h == nil {
		return nil
	}
	return toMirrorHead(*h)
}

func fromOptionalHead(h *providerv1.MirrorHead) (*provider.MirrorHead, error) {
	if h == nil {
		return nil, nil
	}
	head, err := fromMirrorHead(h)
	if err != nil {
		return nil, err
	}
	return &head, nil
}

func toMirrorHead(h provider.MirrorHead) *providerv1.MirrorHead {
	return &providerv1.MirrorHead{
		Seq: h.Seq, Root: h.Root[:], Time: toTime(h.Time), EventType: h.EventType, Signer: h.Signer[:], Signature: h.Signature,
	}
}

func fromMirrorHead(h *providerv1.MirrorHead) (provider.MirrorHead, error) {
	out := provider.MirrorHead{Seq: h.GetSeq(), EventType: h.GetEventType(), Signature: h.GetSignature()}
	if err := fill(out.Root[:], h.GetRoot(), "head's root"); err != nil {
		return provider.MirrorHead{}, err
	}
	if err := fill(out.Signer[:], h.GetSigner(), "head's signer"); err != nil {
		return provider.MirrorHead{}, err
	}
	if n := len(h.GetSignature()); n != ed25519.SignatureSize {
		return provider.MirrorHead{}, fmt.Errorf("the head's signature has %d bytes instead of %d", n, ed25519.SignatureSize)
	}
	t, err := fromTime(h.GetTime())
	if err != nil {
		return provider.MirrorHead{}, fmt.Errorf("mirror head: %w", err)
	}
	out.Time = t
	return out, nil
}

func toMirrorEvents(events []provider.MirrorEvent) []*providerv1.MirrorEvent {
	out := make([]*providerv1.MirrorEvent, len(events))
	for i, e := range events {
		out[i] = &providerv1.MirrorEvent{
			Seq: e.Seq, KeyId: e.KeyID[:], Type: e.Type, Time: toTime(e.Time), MaterialId: e.MaterialID,
			Leaf: e.Leaf[:], OperationId: e.OperationID, Event: e.Event,
		}
	}
	return out
}

func fromMirrorEvents(events []*providerv1.MirrorEvent) ([]provider.MirrorEvent, error) {
	out := make([]provider.MirrorEvent, len(events))
	for i, e := range events {
		event, err := fromMirrorEvent(e)
		if err != nil {
			return nil, fmt.Errorf("mirror event %d: %w", i, err)
		}
		out[i] = event
	}
	return out, nil
}

func fromMirrorEvent(e *providerv1.MirrorEvent) (provider.MirrorEvent, error) {
	out := provider.MirrorEvent{
		Seq: e.GetSeq(), Type: e.GetType(), MaterialID: e.GetMaterialId(), OperationID: e.GetOperationId(), Event: e.GetEvent(),
	}
	if err := fill(out.KeyID[:], e.GetKeyId(), "key id"); err != nil {
		return provider.MirrorEvent{}, err
	}
	if err := fill(out.Leaf[:], e.GetLeaf(), "leaf"); err != nil {
		return provider.MirrorEvent{}, err
	}
	t, err := fromTime(e.GetTime())
	out.Time = t
	return out, err
}

// fill copies src into dst, which must be of the same length.
func fill(dst, src []byte, what string) error {
	if len(src) != len(dst) {
		return fmt.Errorf("the %s has %d bytes instead of %d", what, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}
