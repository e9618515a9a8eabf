package gcpkms

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keyrotor/keyrotor/core/provider"
)

func configError(attribute, format string, args ...any) error {
	e := provider.Errorf(provider.InvalidConfig, format, args...)
	e.Attribute = attribute
	return e
}

// rule says what a failure means that its gRPC code leaves open.
type rule struct {
	on        []codes.Code
	reason    string // of the ErrorInfo; empty for any
	text      string // in the message; empty for any
	methods   []method
	code      provider.Code
	attribute string
	advice    string
}

// rules are tried in order, before the code alone decides.
func rules() []rule {
	denied := []codes.Code{codes.PermissionDenied, codes.FailedPrecondition}
	return []rule{
		// What Google's front end says for all services:
		// https://cloud.google.com/apis/design/errors and google/api/error_reason.proto
		{denied, "SERVICE_DISABLED", "", nil, provider.Denied, "", "enable the API in the project: gcloud services enable cloudkms.googleapis.com"},
		{denied, "", "has not been used in project", nil, provider.Denied, "", "enable the API in the project: gcloud services enable cloudkms.googleapis.com"},
		{denied, "", "has not been used in this project", nil, provider.Denied, "", "enable the API in the project: gcloud services enable cloudkms.googleapis.com"},
		{denied, "BILLING_DISABLED", "", nil, provider.Denied, "", "the project has no billing account: link one"},
		{denied, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "", nil, provider.Denied, "", "the machine's service account has not the scope cloudkms or cloud-platform"},
		{denied, "SECURITY_POLICY_VIOLATED", "", nil, provider.Denied, "", "a perimeter of VPC Service Controls is in the way"},
		{denied, "USER_PROJECT_DENIED", "", nil, provider.Denied, "", "the credentials name a quota project that they may not use: roles/serviceusage.serviceUsageConsumer"},
		{[]codes.Code{codes.ResourceExhausted}, "RESOURCE_QUOTA_EXCEEDED", "", nil, provider.LimitExceeded, "", "ask for a higher limit"},
		{[]codes.Code{codes.ResourceExhausted}, "", "message larger than max", nil, provider.Internal, "", "the endpoint answers what Cloud KMS does not"},

		// https://cloud.google.com/kms/docs/key-states
		{[]codes.Code{codes.FailedPrecondition}, "", "current state is: DISABLED", nil, provider.InvalidState, "", "enable the version, run `keyrotor kek rewrap`, then disable it again"},
		{[]codes.Code{codes.FailedPrecondition}, "", "current state is: DESTROY_SCHEDULED", nil, provider.InvalidState, "", "restore and enable the version while there is time, run `keyrotor kek rewrap`, then destroy it again"},
		{[]codes.Code{codes.FailedPrecondition}, "", "current state is: DESTROYED", nil, provider.InvalidState, "", "nothing opens its wraps any more; a wrap by another provider may"},
		{[]codes.Code{codes.FailedPrecondition}, "", "current state is: PENDING_GENERATION", nil, provider.InvalidState, "", "try again in a moment"},

		// A Decrypt is only told that something about its arguments is wrong:
		// https://cloud.google.com/kms/docs/encrypt-decrypt
		{[]codes.Code{codes.InvalidArgument}, "", "", []method{methodDecrypt}, provider.Integrity, "", "the wrap was altered, is bound to something else, or is by another key"},
		// https://cloud.google.com/kms/docs/data-integrity-guidelines
		{[]codes.Code{codes.InvalidArgument}, "", "_crc32c", nil, provider.Integrity, "", "the request was altered on its way: try again"},
		{[]codes.Code{codes.InvalidArgument}, "", "checksum", nil, provider.Integrity, "", "the request was altered on its way: try again"},
		{[]codes.Code{codes.NotFound}, "", "", []method{methodGetVersion, methodUpdateVersion, methodDestroyVersion, methodRestoreVersion}, provider.NotFoundVersion, "", ""},
		{[]codes.Code{codes.NotFound}, "", "", []method{methodCreateKey}, provider.InvalidConfig, attrKey, "make the key ring first (gcloud kms keyrings create), or correct the name"},

		// What gRPC says of a connection that does not come about.
		{[]codes.Code{codes.Unavailable}, "", "signed by unknown authority", nil, provider.InvalidConfig, attrCAFile, "the endpoint's certificate is not signed by an authority that this names, or the system knows if it is not set"},
		{[]codes.Code{codes.Unavailable}, "", "x509: certificate is", nil, provider.InvalidConfig, attrEndpoint, "the certificate is for another name"},
		{[]codes.Code{codes.Unavailable}, "", "x509: cannot validate certificate", nil, provider.InvalidConfig, attrEndpoint, "the certificate is for another name"},
		{[]codes.Code{codes.Unavailable}, "", "first record does not look like a TLS handshake", nil, provider.InvalidConfig, attrEndpoint, "it does not speak TLS"},
	}
}

// codeOf is what a gRPC code alone means.
func codeOf(c codes.Code) provider.Code {
	switch c {
	case codes.NotFound:
		return provider.NotFoundKey
	case codes.AlreadyExists:
		return provider.AlreadyExists
	case codes.PermissionDenied:
		return provider.Denied
	case codes.Unauthenticated:
		return provider.Unauthenticated
	case codes.ResourceExhausted:
		return provider.Throttled
	case codes.FailedPrecondition:
		return provider.InvalidState
	case codes.InvalidArgument, codes.OutOfRange:
		return provider.InvalidArgument
	case codes.DataLoss:
		return provider.Integrity
	case codes.Unimplemented:
		return provider.InvalidConfig
	default: // Unavailable, DeadlineExceeded, Internal, Unknown, Aborted, Canceled
		return provider.Unavailable
	}
}

// failure makes an error of the contract of a call that failed.
func (m *manager) failure(what method, resource string, err error) error {
	if own, ok := errors.AsType[*provider.Error](err); ok { // what a page of a list held
		return own
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	if s.Code() == codes.Unauthenticated && m.tokens != nil {
		m.tokens.forget()
	}
	reason, after := details(s)
	for _, r := range rules() {
		if r.holds(what, s, reason) {
			return m.errorf(r.code, r.attribute, what, resource, s, after, r.advice)
		}
	}
	switch code := codeOf(s.Code()); code {
	case provider.NotFoundKey:
		return provider.Errorf(code, "Cloud KMS has no key %s: correct %s; or run `keyrotor kek create NAME`, NAME being this provider's name in the config file", m.key, attrKey)
	case provider.Denied:
		return m.errorf(code, "", what, resource, s, after, "the role of this identity lacks "+what.permission+", or the key does not exist, which Cloud KMS does not tell apart")
	case provider.Unauthenticated:
		return m.errorf(code, "", what, resource, s, after, "the credentials are wrong, expired or revoked: correct "+attrCredentialsFile+", or what stands in its place")
	case provider.Throttled:
		return m.errorf(code, "", what, resource, s, after, "a quota of the project is used up: see \"Quotas\" on the provider's page")
	case provider.InvalidConfig:
		return m.errorf(code, attrEndpoint, what, resource, s, after, "is that Cloud KMS?")
	default:
		return m.errorf(code, "", what, resource, s, after, "")
	}
}

func (r rule) holds(what method, s *status.Status, reason string) bool {
	return slices.Contains(r.on, s.Code()) &&
		(r.reason == "" || r.reason == reason) &&
		strings.Contains(s.Message(), r.text) &&
		(r.methods == nil || slices.Contains(r.methods, what))
}

// details reads what Google adds to an error.
func details(s *status.Status) (reason string, after time.Duration) {
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			reason = d.GetReason()
		case *errdetails.RetryInfo:
			after = max(0, d.GetRetryDelay().AsDuration())
		}
	}
	return reason, after
}

func (m *manager) errorf(code provider.Code, attribute string, what method, resource string, s *status.Status, after time.Duration, advice string) error {
	text := tidy(s.Message())
	if text == "" {
		text = "no more than that"
	}
	if advice != "" {
		text += ": " + advice
	}
	e := provider.Errorf(code, "Cloud KMS at %s answers %s to %s of %s: %s", m.endpoint, s.Code(), what.name, resource, text)
	e.Attribute = attribute
	if provider.Transient(e) {
		e.RetryAfter = after
	}
	if s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled {
		e.Err = errors.Join(e.Err, s.Err())
	}
	return e
}

// isNetwork tells an error of a connection from one of what came over it.
func isNetwork(err error) bool {
	_, isURL := errors.AsType[*url.Error](err)
	_, isNet := errors.AsType[net.Error](err)
	return isURL || isNet || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// networkText leaves the URL out, of which a query may be a credential.
func networkText(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// tidy makes one line of a text, and bounds it.
func tidy(text string) string {
	joined := strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(joined) > maxErrorText {
		joined = strings.ToValidUTF8(joined[:maxErrorText], "") + "…"
	}
	return joined
}

const maxErrorText = 400
