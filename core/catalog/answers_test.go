package catalog

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// setFault has the instance do something wrong from here on.
func (h *host) setFault(name, fault string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.journal, name+".fault"), []byte(fault), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// TestBrokenPromises asks a real plugin that lies. Each answer is refused, with what
// was promised and what was done, and the call is not made again.
func TestBrokenPromises(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, nil)
	in := h.add("prod", "none")
	described, err := in.DescribeKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wraps, err := in.Wrap(ctx, wrapItems())
	if err != nil || wraps[0].Err != nil {
		t.Fatal(wraps, err)
	}
	items := []provider.UnwrapItem{{Wrapped: wraps[0].Wrapped, AAD: wrapItems()[0].AAD}}
	if err := makeCall(ctx, in, "Unwrap", items); err != nil {
		t.Fatal(err)
	}
	otherKEK := `a provider works on one key-encryption key; it named "` + described.KEKID +
		`" before and names "faulty/other" now; if that is meant, restart Keyrotor`
	for _, c := range []struct {
		call, fault string
		code        provider.Code
		want        string
	}{
		{"DescribeKey", "other-kek", provider.Integrity, otherKEK},
		{"DescribeKey", "unlisted-primary", provider.Internal, `the primary is one of the versions; "99" is none of the 1`},
		{"GenerateDataKey", "other-kek", provider.Integrity, otherKEK},
		{"GenerateDataKey", "short-root", provider.Integrity, "a root has 32 bytes; it has 31"},
		{"Wrap", "other-kek", provider.Integrity, otherKEK},
		{"Wrap", "missing-item", provider.Internal, "one result an item; it answered 0 for 1"},
		{"Unwrap", "other-kek", provider.Integrity, `a wrap opens with the key that it names; result 0: it names "` + described.KEKID + `" and was opened with "faulty/other"`},
		{"Unwrap", "zero-root", provider.Integrity, "a root is random; result 0: it is all zeros"},
		{"Rewrap", "other-kek", provider.Integrity, otherKEK},
		{"Rewrap", "extra-item", provider.Internal, "one result an item; it answered 2 for 1"},
		{"RotateKey", "other-old", provider.Internal, `a rotation starts from the expected version; "1" was expected and it rotated "99"`},
	} {
		h.setFault("prod", c.call+" "+c.fault)
		before := h.calls("prod", c.call)
		err := makeCall(ctx, in, c.call, items)
		wantCode(t, err, c.code)
		if want := `provider "prod" (plugin faulty): ` + c.call + ": " + string(c.code) + ": broke its promise: " + c.want; err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
		if _, ok := errors.AsType[*provider.PromiseError](err); !ok {
			t.Errorf("%v is no broken promise", err)
		}
		if n := h.calls("prod", c.call) - before; n != 1 {
			t.Errorf("%s %s: the plugin was asked %d times", c.call, c.fault, n)
		}
		h.setFault("prod", "none")
		if c.call == "RotateKey" {
			continue // it did rotate
		}
		if err := makeCall(ctx, in, c.call, items); err != nil {
			t.Errorf("%s after %s: %v", c.call, c.fault, err)
		}
	}
}

// makeCall makes the named call and answers its error.
func makeCall(ctx context.Context, in *Instance, call string, items []provider.UnwrapItem) (err error) {
	switch call {
	case "Check":
		_, err = in.Check(ctx, provider.CheckRequest{})
	case "DescribeKey":
		_, err = in.DescribeKey(ctx)
	case "GenerateDataKey":
		_, err = in.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
	case "Wrap":
		_, err = in.Wrap(ctx, wrapItems())
	case "Unwrap":
		_, err = in.Unwrap(ctx, items)
	case "Rewrap":
		_, err = in.Rewrap(ctx, items)
	default:
		_, err = in.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "1"})
	}
	return err
}

// TestTheSameRootTwice: what draws one root for ever draws no random ones.
func TestTheSameRootTwice(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "GenerateDataKey same-root")
	ctx := context.Background()
	if _, err := in.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	g, err := in.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
	wantCode(t, err, provider.Integrity)
	if want := `provider "prod" (plugin faulty): GenerateDataKey: INTEGRITY: broke its promise: each root is drawn anew; it answered the same one twice`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if g.Plaintext.Len() != 0 {
		t.Error("the refused root was handed out")
	}
}

func TestAnswers(t *testing.T) {
	var a answers
	kek := func(id string) provider.WrapResult {
		return provider.WrapResult{Wrapped: provider.Wrapped{KEKID: id}}
	}
	of := func(id string) provider.UnwrapItem {
		return provider.UnwrapItem{Wrapped: provider.Wrapped{KEKID: id}}
	}
	failed := provider.WrapResult{Err: provider.Denied}
	if err := a.holdWraps([]provider.WrapResult{failed, kek("a"), kek("a")}); err != nil {
		t.Errorf("the first key: %v", err)
	}
	a.opened([]provider.UnwrapItem{of("b"), of("a")}, []provider.UnwrapResult{{}, {}})
	if err := a.holdWraps([]provider.WrapResult{failed, kek("a"), kek("b")}); !errors.Is(err, provider.Integrity) {
		t.Errorf("another key in a batch: %v", err)
	}
	a.opened([]provider.UnwrapItem{of("a")}, nil) // a call that failed
	if err := errors.Join(a.holdKEK("a"), a.holdKEK("a")); err != nil {
		t.Errorf("the key that was proved: %v", err)
	}
	for range 2 { // the first time changes nothing
		if err := a.holdKEK("b"); !errors.Is(err, provider.Integrity) {
			t.Errorf("another one: %v", err)
		}
	}
	a.made("b")
	if err := a.holdKEK("b"); err != nil {
		t.Errorf("a key that the instance made: %v", err)
	}
	if err := a.holdKEK("a"); !errors.Is(err, provider.Integrity) {
		t.Errorf("after it made another: %v", err)
	}
	if err := a.holdKEK("a"); err != nil {
		t.Errorf("of two that were not proved, the first is believed: %v", err)
	}
	a.opened([]provider.UnwrapItem{of("a")}, []provider.UnwrapResult{{Err: provider.NotFoundKey}})
	if err := a.holdKEK("b"); err != nil {
		t.Errorf("a key whose wrap does not open is believed: %v", err)
	}
	drawn := func(b byte) provider.GenerateDataKeyResponse {
		return provider.GenerateDataKeyResponse{
			Wrapped:   provider.Wrapped{KEKID: "b"},
			Plaintext: provider.NewSecret(bytes.Repeat([]byte{b}, provider.RootSize)),
		}
	}
	for i, c := range []struct {
		root byte
		want error
	}{{1, nil}, {2, nil}, {2, provider.Integrity}, {1, nil}} {
		if err := a.holdDataKey(drawn(c.root)); !errors.Is(err, c.want) {
			t.Errorf("root %d: %v, want %v", i, err, c.want)
		}
	}
}
