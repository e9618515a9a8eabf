package conformance

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// variant is a provider that differs from the toy and is as right.
type variant struct {
	mutant
	cannot []string
}

func variants() map[string]variant {
	silent := func(results wrapResults, err error) (wrapResults, error) {
		for i := range results {
			results[i].Wrapped.KEKVersion = ""
		}
		return results, err
	}
	return map[string]variant{
		"does not tell versions": {mutant: mutant{bend: func(e everything) provider.KeyManager {
			return &bent{
				everything: e,
				wrap:       func(ctx ctxt, items wrapItems) (wrapResults, error) { return silent(e.Wrap(ctx, items)) },
				rewrap:     func(ctx ctxt, items openItems) (wrapResults, error) { return silent(e.Rewrap(ctx, items)) },
				unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					results, err := e.Unwrap(ctx, items)
					for i := range results {
						results[i].KEKVersion = ""
					}
					return results, err
				},
			}
		}}},
		"rotates in its own time":        {mutant: mutant{bend: takeTime}},
		"remembers requests":             {mutant: mutant{bend: rememberRequests}},
		"mirrors the newest events only": {mutant: mutant{bend: ring}},
		"mirrors into a log":             {mutant: mutant{bend: writeOnly}, cannot: []string{"mirror/conflict"}},
		"destroys after a while":         {mutant: mutant{bend: destroyLater}},
		"can do nothing but wrap":        {mutant: mutant{build: bare, change: existing}},
		"fails with the context's own error": {mutant: mutant{bend: func(e everything) provider.KeyManager {
			return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				return e.Unwrap(ctx, items)
			}}
		}}},
	}
}

// TestVariantsPass: the suite asks for no more than the contract does.
func TestVariantsPass(t *testing.T) {
	for name, v := range variants() {
		t.Run(name, func(t *testing.T) {
			h := v.harness()
			for _, connect := range []func() way{
				func() way { return direct{h.New} }, func() way { return inMemory(t, h) },
			} {
				for name, err := range failures(t, h, connect) {
					if !slices.Contains(v.cannot, name) {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
			for _, name := range v.cannot {
				if c, ok := find(cases(h), name); !ok || !c.excusable {
					t.Errorf("%s cannot be excused", name)
				}
			}
		})
	}
}

// takeTime names the new version when it has been asked a few times.
func takeTime(e everything) provider.KeyManager {
	var mu sync.Mutex
	var old provider.DescribeKeyResponse
	left := 0
	return &bent{
		everything: e,
		rotate: func(ctx ctxt, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
			mu.Lock()
			defer mu.Unlock()
			before, err := e.DescribeKey(ctx)
			if err != nil {
				return provider.RotateKeyResponse{}, err
			}
			if _, err := e.RotateKey(ctx, req); err != nil {
				return provider.RotateKeyResponse{}, err
			}
			old, left = before, 3
			return provider.RotateKeyResponse{OldVersion: before.PrimaryVersion, Pending: true}, nil
		},
		describe: func(ctx ctxt) (provider.DescribeKeyResponse, error) {
			mu.Lock()
			defer mu.Unlock()
			if left--; left >= 0 && ctx.Err() == nil {
				return old, nil
			}
			return e.DescribeKey(ctx)
		},
	}
}

// rememberRequests answers a request as it did before.
func rememberRequests(e everything) provider.KeyManager {
	var mu sync.Mutex
	done := map[string]provider.RotateKeyResponse{}
	return &bent{everything: e, rotate: func(ctx ctxt, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		if res, ok := done[req.RequestID]; ok && ctx.Err() == nil {
			return res, nil
		}
		res, err := e.RotateKey(ctx, req)
		if err == nil {
			done[req.RequestID] = res
		}
		return res, err
	}}
}

// ring keeps four events, and of them not everything.
func ring(e everything) provider.KeyManager {
	return &bent{everything: e, read: func(ctx ctxt, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
		res, err := e.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: req.StoreID, Limit: 1000})
		if err != nil {
			return res, err
		}
		res.Events = res.Events[max(0, len(res.Events)-4):]
		res.Events = slices.DeleteFunc(res.Events, func(e provider.MirrorEvent) bool { return e.Seq < req.FromSeq })
		res.Events = res.Events[:min(len(res.Events), int(req.Limit))]
		for i := range res.Events {
			res.Events[i].OperationID, res.Events[i].KeyID = "", [16]byte{}
		}
		return res, nil
	}}
}

func writeOnly(e everything) provider.KeyManager {
	return &bent{
		everything: e,
		write: func(ctx ctxt, _ provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
			_, err := e.DescribeKey(ctx)
			return provider.WriteMirrorResponse{}, err
		},
		read: func(ctx ctxt, _ provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
			_, err := e.DescribeKey(ctx)
			return provider.ReadMirrorResponse{WriteOnly: true}, err
		},
	}
}

func destroyLater(e everything) provider.KeyManager {
	return &bent{everything: e, setState: func(ctx ctxt, req provider.SetVersionStateRequest) error {
		if req.State == provider.KeyDestroyed {
			req.State = provider.KeyPendingDestruction
		}
		return e.SetVersionState(ctx, req)
	}}
}

// bare answers keys that exist, and has no interface beside the one.
func bare(kms *toyKMS) provider.New {
	return func(ctx context.Context, cfg provider.Config) (provider.KeyManager, error) {
		km, err := kms.New(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return struct{ provider.KeyManager }{&bent{
			everything: km.(everything),
			rotate: func(context.Context, provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
				return provider.RotateKeyResponse{}, provider.Errorf(provider.Unsupported, "it has one version")
			},
		}}, nil
	}
}

// existing has the harness make the keys.
func existing(h *Harness) {
	h.Info.Capabilities = nil
	body, build := h.KEK, h.New
	h.KEK = func(t testing.TB) provider.Body {
		b := body(t)
		km, err := build(t.Context(), provider.Config{Body: b})
		if err != nil {
			t.Fatal(err)
		}
		inner := km.(struct{ provider.KeyManager }).KeyManager
		if _, err := inner.(provider.KeyCreator).CreateKey(t.Context(), provider.CreateKeyRequest{}); err != nil {
			t.Fatal(err)
		}
		return b
	}
}
