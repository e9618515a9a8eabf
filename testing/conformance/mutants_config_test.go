package conformance

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/keyrotor/keyrotor/core/provider"
)

func configureMutants() []mutant {
	// onError alters what the constructor fails with.
	onError := func(alter func(*provider.Error) error) func(*toyKMS) provider.New {
		return func(kms *toyKMS) provider.New {
			return func(ctx context.Context, cfg provider.Config) (provider.KeyManager, error) {
				km, err := kms.New(ctx, cfg)
				if e, ok := errors.AsType[*provider.Error](err); ok {
					return nil, alter(e)
				}
				return km, err
			}
		}
	}
	return []mutant{
		{name: "does not say which attribute is missing", fails: []string{"configure/required"}, build: onError(func(e *provider.Error) error {
			e.Attribute = ""
			return e
		})},
		{name: "calls a missing attribute an argument", fails: []string{"configure/required"}, build: onError(func(e *provider.Error) error {
			e.Code = provider.InvalidArgument
			return e
		})},
		{
			name: "takes a configuration without credentials", fails: []string{"configure/required"},
			build: func(kms *toyKMS) provider.New {
				return func(ctx context.Context, cfg provider.Config) (provider.KeyManager, error) {
					if len(cfg.Body.Blocks) == 0 {
						cfg.Body.Blocks = []provider.Block{{Type: "auth"}}
					}
					return kms.New(ctx, cfg)
				}
			},
		},
		{
			name: "lets only the newest instance work", fails: []string{"configure/again"},
			build: func(kms *toyKMS) provider.New {
				var newest atomic.Pointer[everything]
				return bending(kms, func(e everything) provider.KeyManager {
					newest.Store(&e)
					return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
						first := (*newest.Load()).(*toy)
						if first.path == e.(*toy).path && first != e.(*toy) {
							return nil, provider.Errorf(provider.NotFoundInstance, "there is a newer one")
						}
						return e.Unwrap(ctx, items)
					}}
				})
			},
		},
		{
			name: "makes another key of the same configuration", fails: []string{"configure/again", "close/others-go-on"},
			build: func(kms *toyKMS) provider.New {
				seen := map[string]bool{}
				return bending(kms, func(e everything) provider.KeyManager {
					t := e.(*toy)
					if seen[t.path] {
						t.path += "'"
						_, _ = e.CreateKey(context.Background(), provider.CreateKeyRequest{})
					}
					seen[t.path] = true
					return e
				})
			},
		},
		{
			name: "closes twice with an error", fails: []string{"close/twice"},
			bend: func(e everything) provider.KeyManager {
				var closed atomic.Bool
				return &bent{everything: e, close: func() error {
					if closed.Swap(true) {
						return errors.New("it is closed")
					}
					return nil
				}}
			},
		},
		{
			name: "panics when closed twice", fails: []string{"close/twice"},
			bend: func(e everything) provider.KeyManager {
				done := make(chan struct{})
				return &bent{everything: e, close: func() error {
					defer func() {
						// The suite closes what the case has closed already.
						if r := recover(); r != nil && !isCleanup() {
							panic(r)
						}
					}()
					close(done)
					return nil
				}}
			},
		},
		{
			name: "closes all instances of a key", fails: []string{"close/others-go-on"},
			build: func(kms *toyKMS) provider.New {
				return bending(kms, func(e everything) provider.KeyManager {
					t := e.(*toy)
					return &bent{everything: e, close: func() error {
						kms.mu.Lock()
						defer kms.mu.Unlock()
						delete(kms.memory, t.path)
						return nil
					}}
				})
			},
		},
	}
}

// isCleanup reports whether the suite's own cleaning up is what calls.
func isCleanup() bool {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		if frame.Function == "github.com/keyrotor/keyrotor/testing/conformance.within.func1" {
			return true
		}
		if !more {
			return false
		}
	}
}

func infoMutants() []mutant {
	return []mutant{
		{name: "has no version", fails: []string{"info/complete"}, change: func(h *Harness) { h.Info.Version = "" }},
		{name: "has a name that no file can have", fails: []string{"info/complete"}, change: func(h *Harness) { h.Info.Name = "my/kms" }},
		{name: "lists a capability that does not exist", fails: []string{"info/complete"}, change: func(h *Harness) {
			h.Info.Capabilities = append(h.Info.Capabilities, "everything")
		}},
		{name: "lists a capability twice", fails: []string{"info/complete"}, change: func(h *Harness) {
			h.Info.Capabilities = append(h.Info.Capabilities, provider.CanBatch)
		}},
		{name: "has a schema of an unknown type", fails: []string{"info/schema"}, change: func(h *Harness) {
			h.Schema.Attributes[1].Type = "text"
		}},
		{name: "documents nothing", fails: []string{"info/schema"}, change: func(h *Harness) { h.Schema.Attributes[1].Doc = "" }},
		{name: "hides a number", fails: []string{"info/schema"}, change: func(h *Harness) {
			h.Schema.Blocks[0].Body.Attributes = append(h.Schema.Blocks[0].Body.Attributes,
				provider.Attribute{Name: "pin", Type: provider.Int, Sensitive: true, Doc: "A number."})
		}},
		{name: "requires what has a default", fails: []string{"info/schema"}, change: func(h *Harness) {
			h.Schema.Attributes[0].Default = "key"
		}},
		{
			name: "lists mirroring without having it",
			fails: []string{
				"capability/kept", "mirror/empty", "mirror/reads-back", "mirror/again", "mirror/advances", "mirror/range",
				"mirror/stores-apart", "mirror/conflict", "context/over", "context/canceled-midway",
			},
			bend: func(e everything) provider.KeyManager {
				return struct {
					provider.KeyManager
					provider.KeyCreator
					provider.VersionStateSetter
				}{e, e, e}
			},
		},
		{
			name: "lists states without being able to set one",
			fails: []string{
				"capability/kept", "state/disabled", "state/again", "state/destroyed", "state/enabled-again", "state/unknown-version",
				"context/over", "context/canceled-midway",
			},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, setState: func(ctxt, provider.SetVersionStateRequest) error {
					return provider.Errorf(provider.Unsupported, "not in this edition")
				}}
			},
		},
		{
			name: "rotates without saying that it can", fails: []string{"capability/refused"},
			change: func(h *Harness) {
				h.Info.Capabilities = slices.DeleteFunc(h.Info.Capabilities, func(c provider.Capability) bool { return c == provider.CanRotateKey })
			},
		},
		{
			name: "refuses a rotation after it was made", fails: []string{"capability/refused"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				if _, err := e.RotateKey(ctx, req); err != nil {
					return provider.RotateKeyResponse{}, err
				}
				return provider.RotateKeyResponse{}, provider.Errorf(provider.Unsupported, "not in this edition")
			}),
			change: func(h *Harness) {
				h.Info.Capabilities = slices.DeleteFunc(h.Info.Capabilities, func(c provider.Capability) bool { return c == provider.CanRotateKey })
			},
		},
	}
}

func contextMutants() []mutant {
	return []mutant{
		{
			name: "ignores its context", fails: []string{"context/over"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					return e.Unwrap(context.WithoutCancel(ctx), items)
				}}
			},
		},
		{
			name: "rotates for a caller that is gone", fails: []string{"context/over"},
			bend: onRotate(func(ctx ctxt, e everything, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				res, err := e.RotateKey(context.WithoutCancel(ctx), req)
				if ctx.Err() != nil {
					return provider.RotateKeyResponse{}, ctx.Err()
				}
				return res, err
			}),
		},
		{
			name: "takes the end of its context for a defect", fails: []string{"context/over"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, describe: func(ctx ctxt) (provider.DescribeKeyResponse, error) {
					d, err := e.DescribeKey(ctx)
					if errors.Is(err, provider.Unavailable) {
						err = provider.Errorf(provider.Internal, "it did not work")
					}
					return d, err
				}}
			},
		},
		{
			name: "does not recover from a canceled call", fails: []string{"context/over", "context/canceled-midway"},
			bend: func(e everything) provider.KeyManager {
				var dead atomic.Bool
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					results, err := e.Wrap(ctx, items)
					if ctx.Err() != nil {
						dead.Store(true)
					}
					return results, err
				}, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					if dead.Load() && ctx.Err() == nil {
						return nil, provider.Errorf(provider.Unavailable, "the connection is closed")
					}
					return e.Unwrap(ctx, items)
				}}
			},
		},
		{
			name: "answers a canceled call with a denial", fails: []string{"context/canceled-midway"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, rewrap: func(ctx ctxt, items openItems) (wrapResults, error) {
					if err := ctx.Err(); err != nil {
						return nil, err
					}
					if ctx.Err() != nil {
						return nil, provider.Errorf(provider.Denied, "no")
					}
					return e.Rewrap(ctx, items)
				}}
			},
		},
	}
}

func errorMutants() []mutant {
	return []mutant{
		{
			name: "shows the token", fails: []string{"secret/config"},
			build: func(kms *toyKMS) provider.New {
				return func(ctx context.Context, cfg provider.Config) (provider.KeyManager, error) {
					km, err := kms.New(ctx, cfg)
					if err != nil {
						return nil, err
					}
					auth, _ := cfg.Body.Block("auth")
					token := auth.Body.Secret("token").Reveal()
					e := km.(everything)
					return &bent{everything: e, describe: func(ctx ctxt) (provider.DescribeKeyResponse, error) {
						d, err := e.DescribeKey(ctx)
						if errors.Is(err, provider.Unauthenticated) {
							err = provider.Errorf(provider.Unauthenticated, "token %s is wrong", token)
						}
						return d, err
					}}, nil
				}
			},
		},
		{
			name: "shows a root in numbers", fails: []string{"secret/root"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					results, err := e.Wrap(ctx, items)
					for i := range results {
						if results[i].Err != nil {
							results[i].Err = provider.Errorf(provider.InvalidArgument, "%d", items[i].Plaintext.Reveal())
						}
					}
					return results, err
				}}
			},
		},
		{
			name: "takes a key that does not exist for a denial", fails: []string{"create/missing-key"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, generate: func(ctx ctxt, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
					res, err := e.GenerateDataKey(ctx, req)
					if errors.Is(err, provider.NotFoundKey) {
						err = provider.Errorf(provider.Denied, "no")
					}
					return res, err
				}}
			},
		},
	}
}
