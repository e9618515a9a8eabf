package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// answering is a plugin without our server: every call answers the bytes of one
// message.
type answering []byte

func (a answering) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	return proto.Unmarshal(a, reply.(proto.Message))
}

func (answering) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("the contract has no streams")
}

// hostile answers message to every call.
func hostile(t *testing.T, message proto.Message) *wire.Client {
	t.Helper()
	raw, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewClient(answering(raw))
}

func wrapped(kek, blob string) *providerv1.Wrapped {
	return &providerv1.Wrapped{KekId: kek, Blob: []byte(blob)}
}

func mirrored(change func(*providerv1.MirrorHead, *providerv1.MirrorEvent)) *providerv1.ReadMirrorResponse {
	head := &providerv1.MirrorHead{Root: make([]byte, 32), Signer: make([]byte, 4), Signature: make([]byte, 64)}
	event := &providerv1.MirrorEvent{KeyId: make([]byte, 16), Leaf: make([]byte, 32)}
	change(head, event)
	return &providerv1.ReadMirrorResponse{Head: head, Events: []*providerv1.MirrorEvent{event}}
}

func TestAnswersThatBreakTheContractAreRefused(t *testing.T) {
	never := &timestamppb.Timestamp{Nanos: -1}
	tests := map[string]struct {
		call   string
		answer proto.Message
		want   string
	}{
		"no name":             {"GetInfo", &providerv1.GetInfoResponse{}, "the plugin's name: a name is empty"},
		"a name with a path":  {"GetInfo", &providerv1.GetInfoResponse{Name: "../x"}, `the plugin's name: the name "../x" has characters other than a-z, 0-9 and -`},
		"a name in capitals":  {"GetInfo", &providerv1.GetInfoResponse{Name: "Vault"}, `the plugin's name: the name "Vault" has characters other than a-z, 0-9 and -`},
		"no schema":           {"GetSchema", &providerv1.GetSchemaResponse{}, "it holds no schema"},
		"no attribute type":   {"GetSchema", attributes(&providerv1.Attribute{Name: "a"}), `attribute "a": unknown type 0`},
		"newer type":          {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 99}), `attribute "a": unknown type 99`},
		"no attribute name":   {"GetSchema", attributes(&providerv1.Attribute{Type: 1}), `attribute "": a name is empty`},
		"an odd name":         {"GetSchema", attributes(&providerv1.Attribute{Name: "a b", Type: 1}), `attribute "a b": the name "a b" has characters other than a-z, 0-9 and -_`},
		"a name twice":        {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 1}, &providerv1.Attribute{Name: "a", Type: 2}), `attribute "a" appears twice`},
		"a default's type":    {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 2, Default: &providerv1.Value{Kind: &providerv1.Value_Bool{}}}), `attribute "a": default: the value is not of type int`},
		"an empty default":    {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 1, Default: &providerv1.Value{}}), `attribute "a": default: the value is not of type string`},
		"no block type":       {"GetSchema", blocks(&providerv1.BlockSchema{}), "block type: a name is empty"},
		"a block twice":       {"GetSchema", blocks(&providerv1.BlockSchema{Type: "b"}, &providerv1.BlockSchema{Type: "b"}), `block "b" appears twice`},
		"endless blocks":      {"GetSchema", nestedBlocks(200), `block "b": block "b": block "b": block "b": block "b": block "b": block "b": block "b": block "b": blocks nest deeper than 8 levels`},
		"described: no KEK":   {"DescribeKey", &providerv1.DescribeKeyResponse{State: 1}, "the key-encryption key's id is empty"},
		"no state":            {"DescribeKey", &providerv1.DescribeKeyResponse{KekId: "k"}, "unknown key state 0"},
		"newer state":         {"DescribeKey", described(&providerv1.KeyVersion{Version: "1", State: 77}), "version 0: unknown key state 77"},
		"no version":          {"DescribeKey", described(&providerv1.KeyVersion{State: 1}), "version 0: the version is empty"},
		"no such time":        {"DescribeKey", described(&providerv1.KeyVersion{Version: "1", State: 1, Created: never}), "version 0: a time is out of range: proto: timestamp (nanos:-1) has out-of-range nanos"},
		"no data key":         {"GenerateDataKey", &providerv1.GenerateDataKeyResponse{}, "the key-encryption key's id is empty"},
		"no blob":             {"GenerateDataKey", dataKey(wrapped("k", ""), 32), "the wrap's blob is empty"},
		"a short root":        {"GenerateDataKey", dataKey(wrapped("k", "b"), 31), "the plaintext has 31 bytes instead of 32"},
		"a long root":         {"GenerateDataKey", dataKey(wrapped("k", "b"), 33), "the plaintext has 33 bytes instead of 32"},
		"wrap: too few":       {"Wrap", wraps(wrapped("k", "b")), "1 results for 2 items"},
		"wrap: too many":      {"Wrap", wraps(wrapped("k", "b"), wrapped("k", "b"), wrapped("k", "b")), "3 results for 2 items"},
		"wrap: nothing":       {"Wrap", &providerv1.WrapResponse{}, "0 results for 2 items"},
		"wrap: no outcome":    {"Wrap", &providerv1.WrapResponse{Results: []*providerv1.WrapResponse_Result{{}, {}}}, "result 0: it holds neither an outcome nor an error"},
		"wrap: no KEK":        {"Wrap", wraps(wrapped("k", "b"), wrapped("", "b")), "result 1: the key-encryption key's id is empty"},
		"wrap: no blob":       {"Wrap", wraps(wrapped("k", ""), wrapped("k", "b")), "result 0: the wrap's blob is empty"},
		"rewrap: too few":     {"Rewrap", &providerv1.RewrapResponse{Results: []*providerv1.RewrapResponse_Result{{}}}, "1 results for 2 items"},
		"rewrap: no outcome":  {"Rewrap", &providerv1.RewrapResponse{Results: []*providerv1.RewrapResponse_Result{{}, {}}}, "result 0: it holds neither an outcome nor an error"},
		"unwrap: too few":     {"Unwrap", unwraps("x"), "1 results for 2 items"},
		"unwrap: empty":       {"Unwrap", unwraps("x", ""), "result 1: the plaintext is empty"},
		"unwrap: no outcome":  {"Unwrap", &providerv1.UnwrapResponse{Results: []*providerv1.UnwrapResponse_Result{{}, {}}}, "result 0: it holds neither an outcome nor an error"},
		"no new version":      {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "1"}, "the rotation is not pending and names no new version"},
		"the old version":     {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "1", NewVersion: "1"}, `the new version "1" is the old one`},
		"pending and done":    {"RotateKey", &providerv1.RotateKeyResponse{NewVersion: "2", Pending: true}, `the rotation is pending and names the new version "2"`},
		"created: no KEK":     {"CreateKey", &providerv1.CreateKeyResponse{Version: "1"}, "the key-encryption key's id is empty"},
		"written: short root": {"WriteMirror", &providerv1.WriteMirrorResponse{Head: &providerv1.MirrorHead{Root: []byte("r")}}, "the head's root has 1 bytes instead of 32"},
		"read: short root":    {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Root = nil }), "the head's root has 0 bytes instead of 32"},
		"long signer":         {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Signer = make([]byte, 5) }), "the head's signer has 5 bytes instead of 4"},
		"short signature":     {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Signature = nil }), "the head's signature has 0 bytes instead of 64"},
		"no head time":        {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Time = never }), "mirror head: a time is out of range: proto: timestamp (nanos:-1) has out-of-range nanos"},
		"short key id":        {"ReadMirror", mirrored(func(_ *providerv1.MirrorHead, e *providerv1.MirrorEvent) { e.KeyId = nil }), "mirror event 0: the key id has 0 bytes instead of 16"},
		"long leaf":           {"ReadMirror", mirrored(func(_ *providerv1.MirrorHead, e *providerv1.MirrorEvent) { e.Leaf = make([]byte, 64) }), "mirror event 0: the leaf has 64 bytes instead of 32"},
		"no event time":       {"ReadMirror", mirrored(func(_ *providerv1.MirrorHead, e *providerv1.MirrorEvent) { e.Time = never }), "mirror event 0: a time is out of range: proto: timestamp (nanos:-1) has out-of-range nanos"},
		"too many events":     {"ReadMirror", &providerv1.ReadMirrorResponse{Events: make([]*providerv1.MirrorEvent, 4)}, "4 events, at most 3 were asked for"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer, err := everyCall(t.Context(), hostile(t, test.answer))[test.call]()
			want := fmt.Sprintf("INTERNAL: the plugin's answer to %s is refused: %s", test.call, test.want)
			// protobuf varies the spaces of its own messages on purpose.
			if err == nil || string(bytes.ReplaceAll([]byte(err.Error()), []byte("\u00a0"), []byte(" "))) != want {
				t.Fatalf("got %+v, %v\nwant %s", answer, err, want)
			}
		})
	}
}

func attributes(as ...*providerv1.Attribute) proto.Message {
	return &providerv1.GetSchemaResponse{Schema: &providerv1.Schema{Attributes: as}}
}

func blocks(bs ...*providerv1.BlockSchema) proto.Message {
	return &providerv1.GetSchemaResponse{Schema: &providerv1.Schema{Blocks: bs}}
}

func nestedBlocks(depth int) proto.Message {
	schema := &providerv1.Schema{}
	for range depth {
		schema = &providerv1.Schema{Blocks: []*providerv1.BlockSchema{{Type: "b", Body: schema}}}
	}
	return &providerv1.GetSchemaResponse{Schema: schema}
}

func described(v *providerv1.KeyVersion) proto.Message {
	return &providerv1.DescribeKeyResponse{KekId: "k", State: 1, Versions: []*providerv1.KeyVersion{v}}
}

func dataKey(w *providerv1.Wrapped, size int) proto.Message {
	return &providerv1.GenerateDataKeyResponse{Wrapped: w, Plaintext: make([]byte, size)}
}

func wraps(ws ...*providerv1.Wrapped) proto.Message {
	out := &providerv1.WrapResponse{}
	for _, w := range ws {
		out.Results = append(out.Results, &providerv1.WrapResponse_Result{Outcome: &providerv1.WrapResponse_Result_Wrapped{Wrapped: w}})
	}
	return out
}

func unwraps(plaintexts ...string) proto.Message {
	out := &providerv1.UnwrapResponse{}
	for _, p := range plaintexts {
		out.Results = append(out.Results, &providerv1.UnwrapResponse_Result{Outcome: &providerv1.UnwrapResponse_Result_Unwrapped{
			Unwrapped: &providerv1.UnwrapResponse_Unwrapped{Plaintext: []byte(p)},
		}})
	}
	return out
}

func TestNewerAnswersAreUnderstoodAsFarAsPossible(t *testing.T) {
	info, err := hostile(t, &providerv1.GetInfoResponse{
		Name: "x", ProtocolMinor: 900, Capabilities: []providerv1.Capability{0, 3, 88, 3},
	}).Info(t.Context())
	if err != nil || len(info.Capabilities) != 1 || !info.Capabilities.Has(provider.CanRotateKey) || info.ProtocolMinor != 900 {
		t.Errorf("got %+v, %v", info, err)
	}
}

func TestAnItemErrorWithAnUnknownReasonIsInternal(t *testing.T) {
	failed := &providerv1.WrapResponse_Result{Outcome: &providerv1.WrapResponse_Result_Error{Error: &providerv1.ItemError{
		Reason: "BORED", RetryAfter: durationpb.New(-5),
	}}}
	results, err := hostile(t, &providerv1.WrapResponse{Results: []*providerv1.WrapResponse_Result{failed, failed}}).
		Instance("one").Wrap(t.Context(), wrapItems())
	if err != nil {
		t.Fatal(err)
	}
	if e := providerError(t, results[0].Err); e.Code != provider.Internal || e.RetryAfter != 0 {
		t.Errorf("got %+v", e)
	}
}

// everyCall names each call of the contract that has an answer to decode.
func everyCall(ctx context.Context, c *wire.Client) map[string]func() (any, error) {
	i := c.Instance("one")
	return map[string]func() (any, error){
		"GetInfo":         func() (any, error) { return c.Info(ctx) },
		"GetSchema":       func() (any, error) { return c.Schema(ctx) },
		"Check":           func() (any, error) { return i.Check(ctx, provider.CheckRequest{}) },
		"DescribeKey":     func() (any, error) { return i.DescribeKey(ctx) },
		"GenerateDataKey": func() (any, error) { return i.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{}) },
		"Wrap":            func() (any, error) { return i.Wrap(ctx, wrapItems()) },
		"Unwrap":          func() (any, error) { return i.Unwrap(ctx, unwrapItems()) },
		"Rewrap":          func() (any, error) { return i.Rewrap(ctx, unwrapItems()) },
		"RotateKey":       func() (any, error) { return i.RotateKey(ctx, provider.RotateKeyRequest{}) },
		"WriteMirror":     func() (any, error) { return i.WriteMirror(ctx, writeMirrorRequest()) },
		"ReadMirror":      func() (any, error) { return i.ReadMirror(ctx, provider.ReadMirrorRequest{Limit: 3}) },
		"CreateKey":       func() (any, error) { return i.CreateKey(ctx, provider.CreateKeyRequest{}) },
	}
}

// FuzzAnswers gives arbitrary bytes as the answer to every call. Nothing may
// panic, and what is accepted must keep the contract's promises.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []proto.Message{
		&providerv1.GetInfoResponse{Name: "x", Capabilities: []providerv1.Capability{1, 7}},
		attributes(&providerv1.Attribute{Name: "a", Type: 4, Default: &providerv1.Value{Kind: &providerv1.Value_List{}}}),
		nestedBlocks(9),
		described(&providerv1.KeyVersion{Version: "1", State: 1}),
		dataKey(wrapped("k", "b"), 32),
		wraps(wrapped("k", "b"), wrapped("k", "b")),
		unwraps("x", "y"),
		mirrored(func(*providerv1.MirrorHead, *providerv1.MirrorEvent) {}),
		&providerv1.RotateKeyResponse{OldVersion: "1", NewVersion: "2"},
	} {
		raw, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for name, do := range everyCall(t.Context(), wire.NewClient(answering(raw))) {
			answer, err := do()
			if err != nil {
				continue
			}
			switch a := answer.(type) {
			case provider.GenerateDataKeyResponse:
				if a.Plaintext.Len() != provider.RootSize || len(a.Wrapped.Blob) == 0 || a.Wrapped.KEKID == "" {
					t.Errorf("%s accepted %+v", name, a)
				}
			case []provider.WrapResult:
				for _, r := range a {
					if (r.Err == nil) == (len(r.Wrapped.Blob) == 0) {
						t.Errorf("%s accepted %+v", name, r)
					}
				}
			case []provider.UnwrapResult:
				for _, r := range a {
					if (r.Err == nil) == (r.Plaintext.Len() == 0) {
						t.Errorf("%s accepted %+v", name, r)
					}
				}
			}
		}
	})
}
