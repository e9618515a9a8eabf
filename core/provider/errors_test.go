package provider_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

func TestErrorIs(t *testing.T) {
	for _, code := range provider.Codes() {
		err := fmt.Errorf("provider %q: %w", "prod", provider.Errorf(code, "what happened"))
		for _, other := range provider.Codes() {
			if got := errors.Is(err, other); got != (code == other) {
				t.Errorf("an error of %s Is %s: %v", code, other, got)
			}
		}
		if got := provider.CodeOf(err); got != code {
			t.Errorf("CodeOf = %s, want %s", got, code)
		}
	}
}

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err       error
		want      provider.Code
		transient bool
	}{
		{nil, "", false},
		{io.EOF, provider.Internal, false},
		{context.Canceled, provider.Unavailable, true},
		{fmt.Errorf("late: %w", context.DeadlineExceeded), provider.Unavailable, true},
		{provider.Errorf(provider.Throttled, "slow down"), provider.Throttled, true},
		{provider.Errorf(provider.PluginCrashed, "gone"), provider.PluginCrashed, true},
		{provider.Errorf(provider.Denied, "no"), provider.Denied, false},
		{provider.Errorf(provider.LimitExceeded, "full"), provider.LimitExceeded, false},
	} {
		if got := provider.CodeOf(c.err); got != c.want {
			t.Errorf("CodeOf(%v) = %s, want %s", c.err, got, c.want)
		}
		if got := provider.Transient(c.err); got != c.transient {
			t.Errorf("Transient(%v) = %v", c.err, got)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, err := range map[string]error{
		"DENIED":                            &provider.Error{Code: provider.Denied},
		"DENIED: no":                        provider.Errorf(provider.Denied, "no"),
		"INVALID_CONFIG: auth.role_id: bad": &provider.Error{Code: provider.InvalidConfig, Attribute: "auth.role_id", Message: "bad"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
	}
	if err := provider.Errorf(provider.Unavailable, "read: %w", io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
}

func ExampleError() {
	err := fmt.Errorf("provider %q: %w", "prod", &provider.Error{
		Code: provider.Throttled, Message: "too many requests", RetryAfter: 2 * time.Second,
	})
	if e := (*provider.Error)(nil); errors.Is(err, provider.Throttled) && errors.As(err, &e) {
		fmt.Println("wait", e.RetryAfter)
	}
	// Output: wait 2s
}

func TestBrokenPromise(t *testing.T) {
	err := fmt.Errorf("provider %q: %w", "prod", provider.BrokenPromise(provider.Integrity, "a root has 32 bytes", "it has %d", 31))
	if want := `provider "prod": INTEGRITY: broke its promise: a root has 32 bytes; it has 31`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	p, ok := errors.AsType[*provider.PromiseError](err)
	if !ok || *p != (provider.PromiseError{Promise: "a root has 32 bytes", Act: "it has 31"}) {
		t.Errorf("the promise is %+v", p)
	}
	if !errors.Is(err, provider.Integrity) || provider.Transient(err) {
		t.Errorf("%v is no integrity error, or may be tried again", err)
	}
}

func ExamplePromiseError() {
	err := fmt.Errorf("provider %q: %w", "prod", provider.BrokenPromise(provider.Internal, "one result an item", "it answered %d for %d", 3, 2))
	if p, ok := errors.AsType[*provider.PromiseError](err); ok {
		fmt.Println(p.Promise)
		fmt.Println(p.Act)
	}
	// Output:
	// one result an item
	// it answered 3 for 2
}

func TestBody(t *testing.T) {
	b := provider.Body{
		Attributes: map[string]any{
			"s": "text", "i": int64(7), "b": true, "l": []string{"x"}, "m": map[string]string{"k": "v"},
			"secret": provider.NewSecret([]byte("hush")),
		},
		Blocks: []provider.Block{{Type: "auth", Label: "approle"}, {Type: "auth", Label: "cert"}},
	}
	if b.String("s") != "text" || b.Int("i") != 7 || !b.Bool("b") || b.Strings("l")[0] != "x" || b.StringMap("m")["k"] != "v" {
		t.Errorf("attributes of %v", b)
	}
	if string(b.Secret("secret").Reveal()) != "hush" || b.String("secret") != "" {
		t.Error("a secret reads as a string, or not at all")
	}
	if b.String("none") != "" || b.Int("s") != 0 || b.Bool("i") || b.Strings("s") != nil || b.StringMap("l") != nil || b.Secret("s").Len() != 0 {
		t.Error("an absent attribute, or one of another type, has a value")
	}
	if !b.Has("i") || b.Has("none") {
		t.Error("Has")
	}
	if block, ok := b.Block("auth"); !ok || block.Label != "approle" {
		t.Errorf("first auth block %v", block)
	}
	if _, ok := b.Block("mirror"); ok {
		t.Error("a block that is not there")
	}
	if s := fmt.Sprintf("%v %+v %#v", b, b, b); len(s) == 0 || strings.Contains(s, "hush") {
		t.Errorf("a body shows its secret: %s", s)
	}
}
