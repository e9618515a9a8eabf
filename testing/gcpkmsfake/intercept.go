package gcpkmsfake

import (
	"context"
	"net/http"
	"net/textproto"
	"path"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// permissions are what the calls need:
// https://cloud.google.com/kms/docs/reference/permissions-and-roles
var permissions = map[string]string{
	"GetCryptoKey":                  "cloudkms.cryptoKeys.get",
	"CreateCryptoKey":               "cloudkms.cryptoKeys.create",
	"UpdateCryptoKey":               "cloudkms.cryptoKeys.update",
	"UpdateCryptoKeyPrimaryVersion": "cloudkms.cryptoKeys.update",
	"GetCryptoKeyVersion":           "cloudkms.cryptoKeyVersions.get",
	"ListCryptoKeyVersions":         "cloudkms.cryptoKeyVersions.list",
	"CreateCryptoKeyVersion":        "cloudkms.cryptoKeyVersions.create",
	"UpdateCryptoKeyVersion":        "cloudkms.cryptoKeyVersions.update",
	"DestroyCryptoKeyVersion":       "cloudkms.cryptoKeyVersions.destroy",
	"RestoreCryptoKeyVersion":       "cloudkms.cryptoKeyVersions.restore",
	"Encrypt":                       "cloudkms.cryptoKeyVersions.useToEncrypt",
	"Decrypt":                       "cloudkms.cryptoKeyVersions.useToDecrypt",
}

// isWrite tells the calls that the quota of writes counts: https://cloud.google.com/kms/quotas
func isWrite(call string) bool {
	for _, verb := range []string{"Create", "Update", "Destroy", "Restore"} {
		if strings.HasPrefix(call, verb) {
			return true
		}
	}
	return false
}

// intercept plays the faults, and asks who calls and whether that is allowed.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	call := path.Base(info.FullMethod)
	md, _ := metadata.FromIncomingContext(ctx)
	fault := s.Take(info.FullMethod, canonical(md))
	switch fault.Kind {
	case faultplan.None, faultplan.CutAfter, faultplan.WrongAnswer:
	case faultplan.Latency:
		late := time.NewTimer(fault.Delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	case faultplan.Throttle:
		return nil, overQuota("faultplan", fault.Delay)
	case faultplan.ServerError:
		return nil, status.Error(counterpart(fault.Status), "gcpkmsfake: "+http.StatusText(fault.Status))
	case faultplan.Denied:
		return nil, s.denied(call)
	case faultplan.CutBefore:
		return nil, s.cut(ctx)
	}
	if err := s.admit(call, md); err != nil {
		return nil, err
	}
	res, err := handle(ctx, req)
	switch {
	case fault.Kind == faultplan.CutAfter:
		return nil, s.cut(ctx)
	case fault.Kind == faultplan.WrongAnswer && err == nil:
		return rewritten(res.(proto.Message), fault.Rewrite)
	default:
		return res, err
	}
}

// canonical writes gRPC's metadata as a plan has it.
func canonical(md metadata.MD) map[string][]string {
	out := map[string][]string{}
	for k, v := range md {
		out[textproto.CanonicalMIMEHeaderKey(k)] = v
	}
	return out
}

// counterpart of an HTTP status: https://cloud.google.com/apis/design/errors#handling_errors
func counterpart(status int) codes.Code {
	switch status {
	case http.StatusInternalServerError:
		return codes.Internal
	case http.StatusNotImplemented:
		return codes.Unimplemented
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	default:
		return codes.Unavailable
	}
}

// Wrong is a fault that changes the message of an answer.
func Wrong[M any, P interface {
	*M
	proto.Message
}](change func(P)) faultplan.Fault {
	return faultplan.Wrong(func(body []byte) []byte {
		m := P(new(M))
		if err := proto.Unmarshal(body, m); err != nil {
			panic(err)
		}
		change(m)
		out, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		return out
	})
}

func rewritten(m proto.Message, rewrite func([]byte) []byte) (any, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	out := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(rewrite(body), out); err != nil {
		return nil, err
	}
	return out, nil
}

// cut breaks the caller's connection. What is returned reaches nobody.
func (s *Server) cut(ctx context.Context) error {
	if p, ok := peer.FromContext(ctx); ok {
		s.listener.cut(p.Addr.String())
	}
	return status.Error(codes.Unavailable, "gcpkmsfake: the connection is cut")
}

// admit looks at token, permission and quota, in this order.
func (s *Server) admit(call string, md metadata.MD) error {
	s.mu.Lock()
	authorize := s.options.Authorize
	s.mu.Unlock()
	if authorize != nil {
		token := ""
		if values := md.Get("authorization"); len(values) == 1 {
			token = strings.TrimPrefix(values[0], "Bearer ")
		}
		// https://cloud.google.com/docs/authentication/troubleshoot-adc
		if err := authorize(token); err != nil {
			return withDetails(codes.Unauthenticated, "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
				&errdetails.ErrorInfo{Reason: "ACCESS_TOKEN_EXPIRED", Domain: "googleapis.com", Metadata: map[string]string{"why": err.Error()}})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	need, known := permissions[call]
	if known && s.granted != nil && !s.granted[need] {
		return s.denied(call)
	}
	if s.options.WriteQuota == 0 || !isWrite(call) {
		return nil
	}
	now := s.options.Now()
	recent := s.writes[:0]
	for _, at := range s.writes {
		if now.Sub(at) < time.Minute {
			recent = append(recent, at)
		}
	}
	s.writes = recent
	if len(s.writes) >= s.options.WriteQuota {
		return overQuota("Write requests", time.Minute-now.Sub(s.writes[0]))
	}
	s.writes = append(s.writes, now)
	return nil
}

// denied is how Cloud KMS words a missing right. It does not tell a key that is not there:
// https://cloud.google.com/iam/docs/permission-error-messages
func (s *Server) denied(call string) error {
	return withDetails(codes.PermissionDenied,
		"Permission '"+permissions[call]+"' denied on resource 'projects/p/locations/l/keyRings/r/cryptoKeys/k' (or it may not exist).",
		&errdetails.ErrorInfo{Reason: "IAM_PERMISSION_DENIED", Domain: "cloudkms.googleapis.com"})
}

// overQuota: https://cloud.google.com/kms/docs/monitor-adjust-quotas
func overQuota(metric string, after time.Duration) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com"}}
	if after > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	return withDetails(codes.ResourceExhausted, "Quota exceeded for quota metric '"+metric+"' and limit '"+metric+" per minute' of service 'cloudkms.googleapis.com'.", details...)
}

func withDetails(code codes.Code, text string, details ...protoadapt.MessageV1) error {
	st, err := status.New(code, text).WithDetails(details...)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return st.Err()
}
