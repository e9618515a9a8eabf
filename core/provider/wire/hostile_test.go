package wire_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
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
	const (
		internal  = "INTERNAL: broke its promise: "
		integrity = "INTEGRITY: broke its promise: "
		malformed = internal + "a well-formed answer; "
	)
	never := &timestamppb.Timestamp{Nanos: -1}
	long := strings.Repeat("x", provider.MaxText+1)
	root := strings.Repeat("r", provider.RootSize)
	tests := map[string]struct {
		call   string
		answer proto.Message
		want   string
	}{
		"no name":               {"GetInfo", &providerv1.GetInfoResponse{}, malformed + "the plugin's name: a name is empty"},
		"a name with a path":    {"GetInfo", &providerv1.GetInfoResponse{Name: "../x"}, malformed + `the plugin's name: the name "../x" has characters other than a-z, 0-9 and -`},
		"a name in capitals":    {"GetInfo", &providerv1.GetInfoResponse{Name: "Vault"}, malformed + `the plugin's name: the name "Vault" has characters other than a-z, 0-9 and -`},
		"no schema":             {"GetSchema", &providerv1.GetSchemaResponse{}, malformed + "it holds no schema"},
		"no attribute type":     {"GetSchema", attributes(&providerv1.Attribute{Name: "a"}), malformed + `attribute "a": unknown type 0`},
		"newer type":            {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 99}), malformed + `attribute "a": unknown type 99`},
		"no attribute name":     {"GetSchema", attributes(&providerv1.Attribute{Type: 1}), malformed + `attribute "": a name is empty`},
		"an odd name":           {"GetSchema", attributes(&providerv1.Attribute{Name: "a b", Type: 1}), malformed + `attribute "a b": the name "a b" has characters other than a-z, 0-9 and -_`},
		"a name twice":          {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 1}, &providerv1.Attribute{Name: "a", Type: 2}), malformed + `attribute "a" appears twice`},
		"a default's type":      {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 2, Default: &providerv1.Value{Kind: &providerv1.Value_Bool{}}}), malformed + `attribute "a": default: the value is not of type int`},
		"an empty default":      {"GetSchema", attributes(&providerv1.Attribute{Name: "a", Type: 1, Default: &providerv1.Value{}}), malformed + `attribute "a": default: the value is not of type string`},
		"no block type":         {"GetSchema", blocks(&providerv1.BlockSchema{}), malformed + "block type: a name is empty"},
		"a block twice":         {"GetSchema", blocks(&providerv1.BlockSchema{Type: "b"}, &providerv1.BlockSchema{Type: "b"}), malformed + `block "b" appears twice`},
		"a label twice":         {"GetSchema", blocks(&providerv1.BlockSchema{Type: "b", Labels: []string{"x", "y"}}, &providerv1.BlockSchema{Type: "b", Labels: []string{"z", "y"}}), malformed + `block "b" appears twice`},
		"labels and none":       {"GetSchema", blocks(&providerv1.BlockSchema{Type: "b", Labels: []string{"x"}}, &providerv1.BlockSchema{Type: "b"}), malformed + `block "b" appears twice`},
		"endless blocks":        {"GetSchema", nestedBlocks(200), malformed + `block "b": block "b": block "b": block "b": block "b": block "b": block "b": block "b": block "b": blocks nest deeper than 8 levels`},
		"described: no KEK":     {"DescribeKey", &providerv1.DescribeKeyResponse{State: 1}, internal + "the key-encryption key has an id; it is empty"},
		"no state":              {"DescribeKey", &providerv1.DescribeKeyResponse{KekId: "k"}, malformed + "unknown key state 0"},
		"newer state":           {"DescribeKey", described(&providerv1.KeyVersion{Version: "1", State: 77}), malformed + "version 0: unknown key state 77"},
		"no version":            {"DescribeKey", described(&providerv1.KeyVersion{State: 1}), malformed + "version 0: the version is empty"},
		"no such time":          {"DescribeKey", described(&providerv1.KeyVersion{Version: "1", State: 1, Created: never}), malformed + "version 0: a time is out of range: proto: timestamp (nanos:-1) has out-of-range nanos"},
		"no data key":           {"GenerateDataKey", &providerv1.GenerateDataKeyResponse{}, internal + "a wrap has 1 to 16384 bytes; it has 0"},
		"no blob":               {"GenerateDataKey", dataKey(wrapped("k", ""), 32), internal + "a wrap has 1 to 16384 bytes; it has 0"},
		"a short root":          {"GenerateDataKey", dataKey(wrapped("k", "b"), 31), integrity + "a root has 32 bytes; it has 31"},
		"a long root":           {"GenerateDataKey", dataKey(wrapped("k", "b"), 33), integrity + "a root has 32 bytes; it has 33"},
		"wrap: too few":         {"Wrap", wraps(wrapped("k", "b")), internal + "one result an item; it answered 1 for 2"},
		"wrap: too many":        {"Wrap", wraps(wrapped("k", "b"), wrapped("k", "b"), wrapped("k", "b")), internal + "one result an item; it answered 3 for 2"},
		"wrap: nothing":         {"Wrap", &providerv1.WrapResponse{}, internal + "one result an item; it answered 0 for 2"},
		"wrap: no outcome":      {"Wrap", &providerv1.WrapResponse{Results: []*providerv1.WrapResponse_Result{{}, {}}}, internal + "a result is an outcome or an error; result 0: it is neither"},
		"wrap: no KEK":          {"Wrap", wraps(wrapped("k", "b"), wrapped("", "b")), internal + "the key-encryption key has an id; result 1: it is empty"},
		"wrap: no blob":         {"Wrap", wraps(wrapped("k", ""), wrapped("k", "b")), internal + "a wrap has 1 to 16384 bytes; result 0: it has 0"},
		"rewrap: too few":       {"Rewrap", &providerv1.RewrapResponse{Results: []*providerv1.RewrapResponse_Result{{}}}, internal + "one result an item; it answered 1 for 2"},
		"rewrap: no outcome":    {"Rewrap", &providerv1.RewrapResponse{Results: []*providerv1.RewrapResponse_Result{{}, {}}}, internal + "a result is an outcome or an error; result 0: it is neither"},
		"unwrap: too few":       {"Unwrap", unwraps("x"), internal + "one result an item; it answered 1 for 2"},
		"unwrap: empty":         {"Unwrap", unwraps(root, ""), integrity + "a root has 32 bytes; result 1: it has 0"},
		"unwrap: no outcome":    {"Unwrap", &providerv1.UnwrapResponse{Results: []*providerv1.UnwrapResponse_Result{{}, {}}}, internal + "a result is an outcome or an error; result 0: it is neither"},
		"created: no KEK":       {"CreateKey", &providerv1.CreateKeyResponse{Version: "1"}, internal + "the key-encryption key has an id; it is empty"},
		"written: short root":   {"WriteMirror", &providerv1.WriteMirrorResponse{Head: &providerv1.MirrorHead{Root: []byte("r")}}, malformed + "the head's root has 1 bytes instead of 32"},
		"read: short root":      {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Root = nil }), malformed + "the head's root has 0 bytes instead of 32"},
		"long signer":           {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Signer = make([]byte, 5) }), malformed + "the head's signer has 5 bytes instead of 4"},
		"short signature":       {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Signature = nil }), malformed + "the head's signature has 0 bytes instead of 64"},
		"no head time":          {"ReadMirror", mirrored(func(h *providerv1.MirrorHead, _ *providerv1.MirrorEvent) { h.Time = never }), malformed + "mirror head: a time is out of range: proto: timestamp (nanos:-1) has out-of-range nanos"},
		"short key id":          {"ReadMirror", mirrored(func(_ *providerv1.MirrorHead, e *providerv1.MirrorEvent) { e.KeyId = nil }), malformed + "mirror event 0: the key id has 0 bytes instead of 16"},
		"long leaf":             {"ReadMirror", mirrored(func(_ *providerv1.MirrorHead, e *providerv1.MirrorEvent) { e.Leaf = make([]byte, 64) }), malformed + "mirror event 0: the leaf has 64 bytes instead of 32"},
		"no event time":         {"ReadMirror", mirrored(func(_ *providerv1.MirrorHead, e *providerv1.MirrorEvent) { e.Time = never }), malformed + "mirror event 0: a time is out of range: proto: timestamp (nanos:-1) has out-of-range nanos"},
		"too many events":       {"ReadMirror", &providerv1.ReadMirrorResponse{Events: make([]*providerv1.MirrorEvent, 4)}, malformed + "4 events, at most 3 were asked for"},
		"no new version":        {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "1"}, internal + "a rotation names the new version or is pending; it does neither"},
		"the old version":       {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "1", NewVersion: "1"}, internal + `a rotation makes a new version; "1" is the old one`},
		"pending and done":      {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "1", NewVersion: "2", Pending: true}, internal + `a pending rotation has no new version yet; it names "2"`},
		"another old version":   {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "2", NewVersion: "3"}, internal + `a rotation starts from the expected version; "1" was expected and it rotated "2"`},
		"no old version":        {"RotateKey", &providerv1.RotateKeyResponse{NewVersion: "3"}, internal + `a rotation starts from the expected version; "1" was expected and it rotated ""`},
		"pending from another":  {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "2", Pending: true}, internal + `a rotation starts from the expected version; "1" was expected and it rotated "2"`},
		"an odd new version":    {"RotateKey", &providerv1.RotateKeyResponse{OldVersion: "1", NewVersion: "2\n"}, internal + `a text is printable; the new version is "2\n"`},
		"primary is not listed": {"DescribeKey", &providerv1.DescribeKeyResponse{KekId: "k", State: 1, PrimaryVersion: "2", Versions: []*providerv1.KeyVersion{{Version: "1", State: 1}}}, internal + `the primary is one of the versions; "2" is none of the 1`},
		"a version twice":       {"DescribeKey", &providerv1.DescribeKeyResponse{KekId: "k", State: 1, Versions: []*providerv1.KeyVersion{{Version: "1", State: 1}, {Version: "1", State: 2}}}, internal + `each version is listed once; "1" is there twice`},
		"described: long id":    {"DescribeKey", &providerv1.DescribeKeyResponse{KekId: long, State: 1}, internal + "a text has at most 1024 bytes; the key-encryption key's id has 1025"},
		"an odd algorithm":      {"DescribeKey", &providerv1.DescribeKeyResponse{KekId: "k", State: 1, Algorithm: "\x1b[2J"}, internal + `a text is printable; the algorithm is "\x1b[2J"`},
		"an odd version":        {"DescribeKey", described(&providerv1.KeyVersion{Version: "\u202e1", State: 1}), internal + `a text is printable; the version is "\u202e1"`},
		"a root of zeros":       {"GenerateDataKey", &providerv1.GenerateDataKeyResponse{Wrapped: wrapped("k", "b"), Plaintext: make([]byte, 32)}, integrity + "a root is random; it is all zeros"},
		"generated: long id":    {"GenerateDataKey", dataKey(wrapped(long, "b"), 32), internal + "a text has at most 1024 bytes; the key-encryption key's id has 1025"},
		"wrap: a long blob":     {"Wrap", wraps(wrapped("k", "b"), wrapped("k", strings.Repeat("b", provider.MaxBlob+1))), internal + "a wrap has 1 to 16384 bytes; result 1: it has 16385"},
		"wrap: an odd version":  {"Wrap", wraps(wrapped("k", "b"), &providerv1.Wrapped{KekId: "k", Blob: []byte("b"), KekVersion: "\t"}), internal + `a text is printable; result 1: the key-encryption key's version is "\t"`},
		"rewrap: no KEK":        {"Rewrap", rewraps(wrapped("k", "b"), wrapped("", "b")), internal + "the key-encryption key has an id; result 1: it is empty"},
		"unwrap: too many":      {"Unwrap", unwraps(root, root, root), internal + "one result an item; it answered 3 for 2"},
		"unwrap: short":         {"Unwrap", unwraps(root[1:], root), integrity + "a root has 32 bytes; result 0: it has 31"},
		"unwrap: long":          {"Unwrap", unwraps(root, root+"x"), integrity + "a root has 32 bytes; result 1: it has 33"},
		"unwrap: zeros":         {"Unwrap", unwraps(root, string(make([]byte, 32))), integrity + "a root is random; result 1: it is all zeros"},
		"unwrap: another KEK":   {"Unwrap", unwrapsWith("kek-1", "kek-1"), integrity + `a wrap opens with the key that it names; result 1: it names "kek-2" and was opened with "kek-1"`},
		"unwrap: a long KEK":    {"Unwrap", unwrapsWith("kek-1", long), internal + "a text has at most 1024 bytes; result 1: the key-encryption key's id has 1025"},
		"checked: who":          {"Check", &providerv1.CheckResponse{Identity: long}, internal + "a text has at most 1024 bytes; the identity has 1025"},
		"checked: where":        {"Check", &providerv1.CheckResponse{Account: "a\x00"}, internal + `a text is printable; the account is "a\x00"`},
		"created: odd version":  {"CreateKey", &providerv1.CreateKeyResponse{KekId: "k", Version: "\x7f"}, internal + `a text is printable; the key-encryption key's version is "\x7f"`},
		"a long name":           {"GetInfo", &providerv1.GetInfoResponse{Name: strings.Repeat("a", 1025)}, internal + "a text has at most 1024 bytes; the plugin's name has 1025"},
		"an odd plugin version": {"GetInfo", &providerv1.GetInfoResponse{Name: "x", Version: "1\n2"}, internal + `a text is printable; the plugin's version is "1\n2"`},
		"a schema without end":  {"GetSchema", &providerv1.GetSchemaResponse{Schema: &providerv1.Schema{Doc: strings.Repeat("x", 1<<20)}}, internal + "a schema has at most 1048576 bytes; it has 1048580"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer, err := everyCall(t.Context(), hostile(t, test.answer))[test.call]()
			// protobuf varies the spaces of its own messages on purpose.
			if err == nil || strings.ReplaceAll(err.Error(), "\u00a0", " ") != test.want {
				t.Fatalf("got %+v, %v\nwant %s", answer, err, test.want)
			}
			if _, ok := errors.AsType[*provider.PromiseError](err); !ok || provider.Transient(err) {
				t.Errorf("%#v is no broken promise, or is tried again", err)
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
	return &providerv1.GenerateDataKeyResponse{Wrapped: w, Plaintext: bytes.Repeat([]byte("r"), size)}
}

func wraps(ws ...*providerv1.Wrapped) proto.Message {
	out := &providerv1.WrapResponse{}
	for _, w := range ws {
		out.Results = append(out.Results, &providerv1.WrapResponse_Result{Outcome: &providerv1.WrapResponse_Result_Wrapped{Wrapped: w}})
	}
	return out
}

func rewraps(ws ...*providerv1.Wrapped) proto.Message {
	out := &providerv1.RewrapResponse{}
	for _, w := range ws {
		out.Results = append(out.Results, &providerv1.RewrapResponse_Result{Outcome: &providerv1.RewrapResponse_Result_Wrapped{Wrapped: w}})
	}
	return out
}

// unwrapsWith answers roots that were opened with these keys.
func unwrapsWith(keks ...string) proto.Message {
	out := &providerv1.UnwrapResponse{}
	for _, kek := range keks {
		out.Results = append(out.Results, &providerv1.UnwrapResponse_Result{Outcome: &providerv1.UnwrapResponse_Result_Unwrapped{
			Unwrapped: &providerv1.UnwrapResponse_Unwrapped{Plaintext: bytes.Repeat([]byte("r"), provider.RootSize), KekId: kek},
		}})
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
		"RotateKey":       func() (any, error) { return i.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "1"}) },
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
				if a.Plaintext.Len() != provider.RootSize || !sound(a.Wrapped) {
					t.Errorf("%s accepted %+v", name, a)
				}
			case []provider.WrapResult:
				for _, r := range a {
					if (r.Err == nil) != sound(r.Wrapped) {
						t.Errorf("%s accepted %+v", name, r)
					}
				}
			case []provider.UnwrapResult:
				for _, r := range a {
					if (r.Err == nil) != (r.Plaintext.Len() == provider.RootSize) {
						t.Errorf("%s accepted %+v", name, r)
					}
				}
			case provider.RotateKeyResponse:
				if a.Pending == (a.NewVersion != "") || a.NewVersion == "1" {
					t.Errorf("%s accepted %+v", name, a)
				}
			case provider.DescribeKeyResponse:
				isPrimary := func(v provider.KeyVersion) bool { return v.Version == a.PrimaryVersion }
				if a.KEKID == "" || a.PrimaryVersion != "" && !slices.ContainsFunc(a.Versions, isPrimary) {
					t.Errorf("%s accepted %+v", name, a)
				}
			}
		}
	})
}

// sound reports whether a wrap could be one.
func sound(w provider.Wrapped) bool {
	return w.KEKID != "" && len(w.KEKID) <= provider.MaxText && len(w.KEKVersion) <= provider.MaxText &&
		len(w.Blob) > 0 && len(w.Blob) <= provider.MaxBlob
}
