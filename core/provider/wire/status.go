package wire

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

const (
	// errorDomain marks an ErrorInfo as ours.
	errorDomain = "keyrotor"
	// attributeKey is the ErrorInfo metadata that holds [provider.Error.Attribute].
	attributeKey = "attribute"
	// maxText bounds an error's text in bytes, on both sides. A status travels in
	// HTTP/2 trailers, and a peer drops the stream if those grow too large; and a
	// plugin that is not built with our SDK may answer any length.
	maxText = 4 << 10
	// maxRetryAfter bounds what a plugin may have its callers wait.
	maxRetryAfter = 24 * time.Hour
)

// ToStatus turns what a provider call failed with into a gRPC status. A
// context's own error becomes its bare gRPC code; everything else carries an
// ErrorInfo. Nil stays nil.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	if !coded(err) {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return status.Error(codes.DeadlineExceeded, "the deadline of the call passed")
		case errors.Is(err, context.Canceled):
			return status.Error(codes.Canceled, "the call was canceled")
		}
	}
	e := asError(err)
	info := &errdetails.ErrorInfo{Domain: errorDomain, Reason: string(e.Code)}
	if e.Attribute != "" {
		info.Metadata = map[string]string{attributeKey: text(e.Attribute)}
	}
	st, detailErr := status.New(grpcCode(e.Code), text(e.Message)).WithDetails(info)
	if detailErr == nil && e.RetryAfter > 0 {
		st, detailErr = st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	if detailErr != nil {
		return status.Errorf(codes.Internal, "encoding a provider error: %v", detailErr)
	}
	return st.Err()
}

// FromStatus is the inverse of [ToStatus], on the host's side. A status without
// an ErrorInfo of ours did not come from a provider: it is a context error, a
// limit or a defect that gRPC itself reported, or else the connection broke, which is
// [provider.PluginCrashed].
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	var info *errdetails.ErrorInfo
	var retryAfter time.Duration
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == errorDomain && info == nil {
				info = d
			}
		case *errdetails.RetryInfo:
			retryAfter = wait(d.GetRetryDelay())
		}
	}
	if info == nil {
		return fromBareStatus(st)
	}
	e := fromReason(info.GetReason(), st.Message())
	e.Attribute = text(info.GetMetadata()[attributeKey])
	e.RetryAfter = retryAfter
	return e
}

// fromBareStatus reads a status that gRPC itself made. Only what says nothing
// about the plugin's health is kept apart from a crash.
func fromBareStatus(st *status.Status) error {
	message := text(st.Message())
	switch st.Code() {
	case codes.DeadlineExceeded:
		return &contextError{text: "the plugin did not answer in time", cause: context.DeadlineExceeded}
	case codes.Canceled:
		return &contextError{text: "the plugin call was canceled", cause: context.Canceled}
	case codes.ResourceExhausted:
		return provider.Errorf(provider.LimitExceeded, "a message exceeds the limit of %d bytes: %s", MaxMessage, message)
	case codes.Unimplemented:
		return provider.Errorf(provider.Unsupported, "the plugin does not know this call, it may be older than Keyrotor: %s", message)
	case codes.Internal:
		return provider.Errorf(provider.Internal, "a message could not be encoded or decoded: %s", message)
	default:
		return provider.Errorf(provider.PluginCrashed, "connection to the plugin: %s: %s", st.Code(), message)
	}
}

// contextError says in words what a context's error means for a plugin call.
type contextError struct {
	text  string
	cause error
}

func (e *contextError) Error() string { return e.text + ": " + e.cause.Error() }

func (e *contextError) Unwrap() error { return e.cause }

// toItemError describes the failure of one item of a batch.
func toItemError(err error) *providerv1.ItemError {
	e := asError(err)
	item := &providerv1.ItemError{Reason: string(e.Code), Message: text(e.Message)}
	if e.RetryAfter > 0 {
		item.RetryAfter = durationpb.New(e.RetryAfter)
	}
	return item
}

func fromItemError(item *providerv1.ItemError) error {
	e := fromReason(item.GetReason(), item.GetMessage())
	e.RetryAfter = wait(item.GetRetryAfter())
	return e
}

// wait is how long a plugin may ask to wait.
func wait(d *durationpb.Duration) time.Duration {
	return min(max(0, d.AsDuration()), maxRetryAfter)
}

// coded reports whether the author chose a code, in a [*provider.Error] or alone.
func coded(err error) bool {
	if _, ok := errors.AsType[*provider.Error](err); ok {
		return true
	}
	_, ok := errors.AsType[provider.Code](err)
	return ok
}

// asError makes an author's error one of the closed set.
func asError(err error) *provider.Error {
	e, own := errors.AsType[*provider.Error](err)
	switch {
	case own && e == nil:
		return provider.Errorf(provider.Internal, "the provider answered a nil *provider.Error as its error")
	case !own:
		e = fromForeign(err)
	}
	if !crosses(e.Code) {
		return provider.Errorf(provider.Internal, "the provider answered the unknown code %q: %s", e.Code, e.Message)
	}
	return e
}

// fromForeign reads an error that is no [*provider.Error], a bare code perhaps.
func fromForeign(err error) *provider.Error {
	e := &provider.Error{Code: provider.CodeOf(err), Message: err.Error()}
	if e.Message == string(e.Code) {
		e.Message = "" // the code says it already
	}
	return e
}

// crosses reports whether a provider may answer the code. That a plugin crashed
// is not for the plugin to say: the host would kill the process for it.
func crosses(code provider.Code) bool {
	return code != provider.PluginCrashed && slices.Contains(provider.Codes(), code)
}

func fromReason(reason, message string) *provider.Error {
	code := provider.Code(reason)
	if !crosses(code) {
		return provider.Errorf(provider.Internal, "the plugin answered the unknown reason %.80q, it may be newer than Keyrotor: %s", reason, text(message))
	}
	return &provider.Error{Code: code, Message: text(message)}
}

// grpcCode is what tools that know gRPC but not Keyrotor see. The codes that
// such tools retry by themselves stand only for what may pass.
func grpcCode(code provider.Code) codes.Code {
	switch code {
	case provider.NotFoundKey, provider.NotFoundVersion, provider.NotFoundInstance:
		return codes.NotFound
	case provider.AlreadyExists:
		return codes.AlreadyExists
	case provider.Denied:
		return codes.PermissionDenied
	case provider.Unauthenticated:
		return codes.Unauthenticated
	case provider.Throttled:
		return codes.ResourceExhausted
	case provider.Unavailable, provider.PluginCrashed:
		return codes.Unavailable
	case provider.VersionChanged, provider.MirrorConflict, provider.InvalidState, provider.LimitExceeded:
		return codes.FailedPrecondition
	case provider.InvalidConfig, provider.InvalidArgument:
		return codes.InvalidArgument
	case provider.Integrity:
		return codes.DataLoss
	case provider.Unsupported:
		return codes.Unimplemented
	default:
		return codes.Internal
	}
}

// text makes s fit for the wire: valid UTF-8, which protobuf insists on, and of
// bounded length.
func text(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) <= maxText {
		return s
	}
	end := maxText - len("…")
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
