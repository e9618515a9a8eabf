package wire

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// guardService wraps every method of a service. It sits in the service and not
// in an interceptor, so that a server made without our options is guarded too,
// and go-plugin's own services on the same server are left alone.
func (s *Server) guardService(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	desc.Methods = slices.Clone(desc.Methods)
	for i, method := range desc.Methods {
		desc.Methods[i].Handler = s.guard(method.MethodName, method.Handler)
	}
	return &desc
}

// guard recovers panics and turns the errors of the author's code into statuses.
// Without it the panic of one call would kill the plugin and all calls with it.
func (s *Server) guard(method string, next grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, i grpc.UnaryServerInterceptor) (resp any, err error) {
		defer func() {
			if r := recover(); r != nil {
				resp, err = nil, ToStatus(s.panicked(method, r))
			}
		}()
		var decodeErr error
		resp, err = next(srv, ctx, func(message any) error {
			decodeErr = decode(message)
			return decodeErr
		}, i)
		switch {
		case decodeErr != nil:
			return nil, decodeErr // gRPC has answered it with a status of its own.
		case err != nil:
			return nil, ToStatus(ownTimeout(ctx, err))
		default:
			wipeAtEnd(ctx, resp)
			return resp, nil
		}
	}
}

// ownTimeout tells a context that the provider itself made from the caller's:
// the caller must not believe that its own deadline passed.
func ownTimeout(ctx context.Context, err error) error {
	if ctx.Err() == nil && !coded(err) && provider.CodeOf(err) == provider.Unavailable {
		return provider.Errorf(provider.Unavailable, "the provider gave up on the key manager: %w", err)
	}
	return err
}

// panicked logs where a panic happened. The panic's value is the author's and
// may hold a secret, as may the arguments in a stack trace: only the runtime's
// own errors are logged as text, and of the stack only functions and lines.
func (s *Server) panicked(method string, value any) error {
	what := fmt.Sprintf("a value of type %T", value)
	if runtimeErr, ok := value.(runtime.Error); ok {
		what = runtimeErr.Error()
	}
	s.log.Error("the provider panicked", "call", method, "panic", what, "stack", callers())
	return provider.Errorf(provider.Internal, "provider panicked in %s; the plugin's log says where", method)
}

func callers() []string {
	pcs := make([]uintptr, 64)
	// Skip runtime.Callers, this function, panicked and the deferred function.
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)])
	var out []string
	for {
		frame, more := frames.Next()
		out = append(out, fmt.Sprintf("%s %s:%d", frame.Function, frame.File, frame.Line))
		if !more {
			return out
		}
	}
}

// wiper wipes the plaintexts of an answer when its call has ended: gRPC has
// encoded it by then, or given it up because the host had gone or the message was
// too large. No interceptor runs that late.
type wiper struct{}

var _ stats.Handler = wiper{}

// answerKey finds the place in a call's context for its answer.
type answerKey struct{}

func (wiper) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, answerKey{}, new(any))
}

// wipeAtEnd hands an answer to the wiper, if the server has one.
func wipeAtEnd(ctx context.Context, answer any) {
	if place, ok := ctx.Value(answerKey{}).(*any); ok {
		*place = answer
	}
}

func (wiper) HandleRPC(ctx context.Context, event stats.RPCStats) {
	place, ok := ctx.Value(answerKey{}).(*any)
	if _, ended := event.(*stats.End); !ended || !ok {
		return
	}
	switch message := (*place).(type) {
	case *providerv1.GenerateDataKeyResponse:
		clear(message.GetPlaintext())
	case *providerv1.UnwrapResponse:
		wipeResults(message.GetResults())
	}
}

func (wiper) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (wiper) HandleConn(context.Context, stats.ConnStats) {}
