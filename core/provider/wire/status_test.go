package wire_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// answerable are the codes that a provider may answer: all but the host's own.
func answerable() []provider.Code {
	return slices.DeleteFunc(provider.Codes(), func(c provider.Code) bool { return c == provider.PluginCrashed })
}

func TestEveryCodeIsTheSameOnBothSides(t *testing.T) {
	for _, code := range answerable() {
		t.Run(string(code), func(t *testing.T) {
			sent := &provider.Error{
				Code: code, Message: "why", Attribute: "auth.approle.role_id", RetryAfter: 1500 * time.Millisecond,
				Err: errors.New("a cause that stays in the plugin"),
			}
			instance := start(t, &manager{on: func(context.Context, string, any) error { return fmt.Errorf("outer: %w", sent) }})
			_, err := instance.DescribeKey(t.Context())
			if !errors.Is(err, code) {
				t.Errorf("%v is not %s", err, code)
			}
			for _, other := range provider.Codes() {
				if other != code && errors.Is(err, other) {
					t.Errorf("%v is %s too", err, other)
				}
			}
			want := *sent
			want.Err = nil
			if got := *providerError(t, err); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestEveryCodeIsTheSameInABatch(t *testing.T) {
	for _, code := range answerable() {
		t.Run(string(code), func(t *testing.T) {
			sent := &provider.Error{Code: code, Message: "why", RetryAfter: time.Minute}
			instance := start(t, &manager{answer: func(call string) any {
				if call == "Unwrap" {
					return []provider.UnwrapResult{{Err: sent}}
				}
				return []provider.WrapResult{{Err: sent}}
			}})
			wrapped, err := instance.Wrap(t.Context(), wrapItems()[:1])
			if err != nil || !reflect.DeepEqual(wrapped, []provider.WrapResult{{Err: sent}}) {
				t.Errorf("Wrap: %+v, %v", wrapped, err)
			}
			unwrapped, err := instance.Unwrap(t.Context(), unwrapItems()[:1])
			if err != nil || !reflect.DeepEqual(unwrapped, []provider.UnwrapResult{{Err: sent}}) {
				t.Errorf("Unwrap: %+v, %v", unwrapped, err)
			}
			rewrapped, err := instance.Rewrap(t.Context(), unwrapItems()[:1])
			if err != nil || !reflect.DeepEqual(rewrapped, []provider.WrapResult{{Err: sent}}) {
				t.Errorf("Rewrap: %+v, %v", rewrapped, err)
			}
		})
	}
}

func TestErrorsOutsideTheSet(t *testing.T) {
	var typedNil *provider.Error
	tests := map[string]struct {
		err  error
		want string
	}{
		"plain":        {errors.New("disk full"), "INTERNAL: disk full"},
		"typed nil":    {typedNil, "INTERNAL: the provider answered a nil *provider.Error as its error"},
		"unknown code": {provider.Errorf("TIRED", "later"), `INTERNAL: the provider answered the unknown code "TIRED": later`},
		"host's code":  {provider.Errorf(provider.PluginCrashed, "so it says"), `INTERNAL: the provider answered the unknown code "PLUGIN_CRASHED": so it says`},
		// A code is an error of its own.
		"bare code":         {provider.Denied, "DENIED"},
		"wrapped code":      {fmt.Errorf("opening the vault: %w", provider.Denied), "DENIED: opening the vault: DENIED"},
		"bare unknown code": {provider.Code("TIRED"), `INTERNAL: the provider answered the unknown code "TIRED": `},
		"code and cause":    {fmt.Errorf("%w: %w", provider.Throttled, context.DeadlineExceeded), "THROTTLED: THROTTLED: context deadline exceeded"},
		// A Google SDK answers gRPC statuses of its own; they say nothing about our connection.
		"foreign status":  {status.Error(codes.Unavailable, "kms down"), "INTERNAL: rpc error: code = Unavailable desc = kms down"},
		"own deadline":    {context.DeadlineExceeded, "UNAVAILABLE: the provider gave up on the key manager: context deadline exceeded"},
		"own cancel":      {fmt.Errorf("dial: %w", context.Canceled), "UNAVAILABLE: the provider gave up on the key manager: dial: context canceled"},
		"not UTF-8":       {provider.Errorf(provider.Denied, "no\xFF"), "DENIED: no\uFFFD"},
		"negative retry":  {&provider.Error{Code: provider.Throttled, RetryAfter: -1}, "THROTTLED"},
		"attribute alone": {&provider.Error{Code: provider.InvalidConfig, Attribute: "a\xFF"}, "INVALID_CONFIG"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			instance := start(t, &manager{on: func(context.Context, string, any) error { return test.err }})
			_, err := instance.DescribeKey(t.Context())
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if e := providerError(t, err); e.RetryAfter != 0 {
				t.Errorf("retry after %v", e.RetryAfter)
			}
		})
	}
}

func TestABareCodeIsTheSameInABatch(t *testing.T) {
	instance := start(t, &manager{answer: func(string) any { return []provider.UnwrapResult{{Err: provider.NotFoundVersion}} }})
	got, err := instance.Unwrap(t.Context(), unwrapItems()[:1])
	if err != nil || !errors.Is(got[0].Err, provider.NotFoundVersion) || got[0].Err.Error() != "NOT_FOUND_VERSION" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	err := wire.FromStatus(wire.ToStatus(provider.Errorf(provider.Denied, "%s", strings.Repeat("é", 1<<20))))
	got := providerError(t, err).Message
	if len(got) > 4096 || !strings.HasSuffix(got, "é…") || !utf8.ValidString(got) {
		t.Errorf("got %d bytes ending in %q", len(got), got[len(got)-8:])
	}
}

// TestTheHostBoundsWhatAPluginSays: a plugin that is not built with our SDK may say
// anything, at any length.
func TestTheHostBoundsWhatAPluginSays(t *testing.T) {
	const most = 4 << 10
	long := strings.Repeat("ü", most)
	cut := strings.Repeat("ü", (most-len("…"))/2) + "…"
	with := func(code codes.Code, details ...protoadapt.MessageV1) error {
		st, err := status.New(code, long).WithDetails(details...)
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	e := providerError(t, wire.FromStatus(with(codes.PermissionDenied,
		&errdetails.ErrorInfo{Domain: "keyrotor", Reason: "DENIED", Metadata: map[string]string{"attribute": long}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(1 << 62)},
	)))
	if want := (provider.Error{Code: provider.Denied, Message: cut, Attribute: cut, RetryAfter: 24 * time.Hour}); *e != want {
		t.Errorf("got  %+v\nwant %+v", *e, want)
	}
	e = providerError(t, wire.FromStatus(with(codes.Internal, &errdetails.ErrorInfo{Domain: "keyrotor", Reason: long})))
	if len(e.Message) > most+300 {
		t.Errorf("an unknown reason: %d bytes", len(e.Message))
	}
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Unimplemented, codes.Internal, codes.Unknown} {
		if e := providerError(t, wire.FromStatus(with(code))); len(e.Message) > most+100 {
			t.Errorf("%s: %d bytes", code, len(e.Message))
		}
	}
	failed := &providerv1.WrapResponse_Result{Outcome: &providerv1.WrapResponse_Result_Error{Error: &providerv1.ItemError{
		Reason: "THROTTLED", Message: long, RetryAfter: durationpb.New(1 << 62),
	}}}
	results, err := hostile(t, &providerv1.WrapResponse{Results: []*providerv1.WrapResponse_Result{failed, failed}}).
		Instance("one").Wrap(t.Context(), wrapItems())
	if err != nil {
		t.Fatal(err)
	}
	if e := *providerError(t, results[1].Err); e != (provider.Error{Code: provider.Throttled, Message: cut, RetryAfter: 24 * time.Hour}) {
		t.Errorf("an item: %+v", e)
	}
}

func TestToStatusIsReadableWithoutKeyrotor(t *testing.T) {
	want := map[provider.Code]codes.Code{
		provider.NotFoundKey: codes.NotFound, provider.NotFoundVersion: codes.NotFound, provider.NotFoundInstance: codes.NotFound,
		provider.AlreadyExists: codes.AlreadyExists, provider.Denied: codes.PermissionDenied,
		provider.Unauthenticated: codes.Unauthenticated, provider.Throttled: codes.ResourceExhausted,
		provider.Unavailable: codes.Unavailable, provider.PluginCrashed: codes.Internal,
		provider.VersionChanged: codes.FailedPrecondition, provider.MirrorConflict: codes.FailedPrecondition,
		provider.InvalidState: codes.FailedPrecondition, provider.InvalidConfig: codes.InvalidArgument,
		provider.InvalidArgument: codes.InvalidArgument, provider.Integrity: codes.DataLoss,
		provider.LimitExceeded: codes.FailedPrecondition, provider.Unsupported: codes.Unimplemented,
		provider.Internal: codes.Internal,
	}
	for _, code := range provider.Codes() {
		if got := status.Code(wire.ToStatus(provider.Errorf(code, "x"))); got != want[code] {
			t.Errorf("%s is %s, want %s", code, got, want[code])
		}
	}
	if wire.ToStatus(nil) != nil || wire.FromStatus(nil) != nil {
		t.Error("nil is an error")
	}
}

func TestStatusesThatGRPCMakes(t *testing.T) {
	tests := []struct {
		code codes.Code
		want error
	}{
		{codes.Unavailable, provider.PluginCrashed},
		{codes.Unknown, provider.PluginCrashed},
		{codes.Aborted, provider.PluginCrashed},
		{codes.PermissionDenied, provider.PluginCrashed},
		{codes.ResourceExhausted, provider.LimitExceeded},
		{codes.Unimplemented, provider.Unsupported},
		{codes.Internal, provider.Internal},
		{codes.DeadlineExceeded, context.DeadlineExceeded},
		{codes.Canceled, context.Canceled},
	}
	for _, test := range tests {
		if err := wire.FromStatus(status.Error(test.code, "text")); !errors.Is(err, test.want) {
			t.Errorf("%s is %v, want %v", test.code, err, test.want)
		}
	}
	if err := wire.FromStatus(errors.New("no status at all")); !errors.Is(err, provider.PluginCrashed) {
		t.Errorf("an error without a status is %v", err)
	}
}

func TestForeignErrorInfoIsNotOurs(t *testing.T) {
	withInfo := func(domain, reason string) error {
		st, err := status.New(codes.Unavailable, "text").WithDetails(&errdetails.ErrorInfo{Domain: domain, Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		return wire.FromStatus(st.Err())
	}
	if err := withInfo("googleapis.com", "DENIED"); !errors.Is(err, provider.PluginCrashed) {
		t.Errorf("another domain: %v", err)
	}
	want := `INTERNAL: the plugin answered the unknown reason "FROM_THE_FUTURE", it may be newer than Keyrotor: text`
	if err := withInfo("keyrotor", "FROM_THE_FUTURE"); err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := withInfo("keyrotor", string(provider.PluginCrashed)); !errors.Is(err, provider.Internal) {
		t.Errorf("a plugin says that it crashed: %v", err)
	}
}

func ExampleFromStatus() {
	onTheWire := wire.ToStatus(provider.Errorf(provider.Throttled, "%s", "10 requests a second"))
	err := wire.FromStatus(onTheWire)
	fmt.Println(errors.Is(err, provider.Throttled), err)
	// Output: true THROTTLED: 10 requests a second
}
