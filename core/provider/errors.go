package provider

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code says what kind of failure it was. The set is closed: act on the code, not
// on the message. The text of a code is its name on the wire.
type Code string

// The codes.
const (
	// NotFoundKey: the KEK does not exist, or we may not see it.
	NotFoundKey Code = "NOT_FOUND_KEY"
	// NotFoundVersion: the KEK exists, this version of it does not.
	NotFoundVersion Code = "NOT_FOUND_VERSION"
	// NotFoundInstance: the plugin has no instance of this id; the host replays Configure.
	NotFoundInstance Code = "NOT_FOUND_INSTANCE"
	// AlreadyExists: CreateKey found the key there.
	AlreadyExists Code = "ALREADY_EXISTS"
	// Denied: known to the key manager, and not allowed. Never retried.
	Denied Code = "DENIED"
	// Unauthenticated: the credential is missing, wrong or expired.
	Unauthenticated Code = "UNAUTHENTICATED"
	// Throttled: too many requests now; RetryAfter says when, where it is known.
	Throttled Code = "THROTTLED"
	// Unavailable: no answer, or a failure on the key manager's side.
	Unavailable Code = "UNAVAILABLE"
	// PluginCrashed: the plugin process ended, or spoke no gRPC; set by the host only.
	PluginCrashed Code = "PLUGIN_CRASHED"
	// VersionChanged: RotateKey expected another primary version.
	VersionChanged Code = "VERSION_CHANGED"
	// MirrorConflict: the mirror holds something else in this place.
	MirrorConflict Code = "MIRROR_CONFLICT"
	// InvalidState: the key or version is disabled, pending destruction or destroyed.
	InvalidState Code = "INVALID_STATE"
	// InvalidConfig: Attribute names the place in the provider block.
	InvalidConfig Code = "INVALID_CONFIG"
	// InvalidArgument: the request itself is wrong.
	InvalidArgument Code = "INVALID_ARGUMENT"
	// Integrity: authentication of a wrap failed (another AAD, another key, altered
	// bytes), or a checksum did not match.
	Integrity Code = "INTEGRITY"
	// LimitExceeded: a limit that waiting does not lift.
	LimitExceeded Code = "LIMIT_EXCEEDED"
	// Unsupported: the provider lacks the capability.
	Unsupported Code = "UNSUPPORTED"
	// Internal: a bug in the provider, e.g. a panic or an error outside this set.
	Internal Code = "INTERNAL"
)

// Codes lists the whole set in the order above.
func Codes() []Code {
	return []Code{
		NotFoundKey, NotFoundVersion, NotFoundInstance, AlreadyExists, Denied,
		Unauthenticated, Throttled, Unavailable, PluginCrashed, VersionChanged,
		MirrorConflict, InvalidState, InvalidConfig, InvalidArgument, Integrity,
		LimitExceeded, Unsupported, Internal,
	}
}

// Error makes a code an error of its own, so that errors.Is(err,
// provider.Throttled) answers the same on both sides of the process boundary.
func (c Code) Error() string { return string(c) }

// Error is what every provider call fails with. It carries no secrets and
// crosses the process boundary whole, but for Err.
type Error struct {
	Code    Code
	Message string
	// Attribute is the path within the provider block, for InvalidConfig.
	Attribute string
	// RetryAfter is how long the key manager asked to wait; zero if it did not say.
	RetryAfter time.Duration
	// Err is the cause on the provider's side. It stays there.
	Err error
}

// Errorf builds an Error whose cause is what fmt.Errorf makes of the rest, so %w
// works as there.
func Errorf(code Code, format string, args ...any) *Error {
	cause := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: cause.Error(), Err: cause}
}

func (e *Error) Error() string {
	switch {
	case e.Attribute != "" && e.Message != "":
		return fmt.Sprintf("%s: %s: %s", e.Code, e.Attribute, e.Message)
	case e.Message != "":
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	default:
		return string(e.Code)
	}
}

// Is reports whether target is this error's Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap answers the cause, which exists on the provider's side only.
func (e *Error) Unwrap() error { return e.Err }

// PromiseError is the cause of an [Error] about an answer that the contract rules
// out: it says what the provider promised, and what it did.
type PromiseError struct {
	Promise string // e.g. "one result an item"
	Act     string // e.g. "it answered 3 for 2"
}

// BrokenPromise builds such an error. Its code is [Integrity] where key material may
// be another than was asked for, else [Internal]; neither is retried.
func BrokenPromise(code Code, promise, act string, args ...any) *Error {
	return Errorf(code, "%w", &PromiseError{Promise: promise, Act: fmt.Sprintf(act, args...)})
}

func (e *PromiseError) Error() string { return "broke its promise: " + e.Promise + "; " + e.Act }

// CodeOf answers the code of the first Error in err's chain, or the Code itself if
// that stands there alone. A context's own error is Unavailable: the answer did not come
// in time. Anything else is Internal, and nil has no code.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if code, ok := errors.AsType[Code](err); ok {
		return code
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Unavailable
	}
	return Internal
}

// Transient reports whether the same call may succeed a moment later: the codes
// that reads are retried on, and that spend a key's outage budget.
func Transient(err error) bool {
	switch CodeOf(err) {
	case Unavailable, Throttled, PluginCrashed:
		return true
	default:
		return false
	}
}
