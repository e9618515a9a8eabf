package conformance

import (
	"errors"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider"
)

func createMutants() []mutant {
	create := func(do func(ctxt, everything, *toy) (provider.CreateKeyResponse, error)) func(everything) provider.KeyManager {
		return onToy(func(e everything, t *toy) *bent {
			return &bent{everything: e, create: func(ctx ctxt, _ provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
				return do(ctx, e, t)
			}}
		})
	}
	return []mutant{
		{
			name: "replaces a key that exists", fails: []string{"create/twice"},
			bend: create(func(ctx ctxt, e everything, t *toy) (provider.CreateKeyResponse, error) {
				t.kms.mu.Lock()
				if ctx.Err() == nil {
					delete(t.kms.memory, t.path)
				}
				t.kms.mu.Unlock()
				return e.CreateKey(ctx, provider.CreateKeyRequest{})
			}),
		},
		{
			name: "takes a key that exists for its own", fails: []string{"create/twice"},
			bend: create(func(ctx ctxt, e everything, _ *toy) (provider.CreateKeyResponse, error) {
				res, err := e.CreateKey(ctx, provider.CreateKeyRequest{})
				if errors.Is(err, provider.AlreadyExists) {
					return provider.CreateKeyResponse{KEKID: "toy", Version: "1"}, nil
				}
				return res, err
			}),
		},
		{
			name: "adds a version to a key that exists", fails: []string{"create/twice"},
			bend: create(func(ctx ctxt, e everything, _ *toy) (provider.CreateKeyResponse, error) {
				res, err := e.CreateKey(ctx, provider.CreateKeyRequest{})
				if errors.Is(err, provider.AlreadyExists) {
					_, _ = blindly(ctx, e, provider.RotateKeyRequest{})
				}
				return res, err
			}),
		},
		{
			name: "creates two versions", fails: []string{"create/answers"},
			bend: create(func(ctx ctxt, e everything, _ *toy) (provider.CreateKeyResponse, error) {
				res, err := e.CreateKey(ctx, provider.CreateKeyRequest{})
				if err != nil {
					return res, err
				}
				rotated, err := blindly(ctx, e, provider.RotateKeyRequest{})
				res.Version = rotated.NewVersion
				return res, err
			}),
		},
		{
			name: "names another version of a new key", fails: []string{"create/answers"},
			bend: create(func(ctx ctxt, e everything, _ *toy) (provider.CreateKeyResponse, error) {
				res, err := e.CreateKey(ctx, provider.CreateKeyRequest{})
				res.Version = "0"
				return res, err
			}),
		},
		{
			name: "checks nothing", fails: []string{"create/missing-key"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, check: func(ctx ctxt, _ provider.CheckRequest) (provider.CheckResponse, error) {
					if err := ctx.Err(); err != nil {
						return provider.CheckResponse{}, err
					}
					return provider.CheckResponse{}, nil
				}}
			},
		},
		{
			name: "cannot check", fails: []string{"check/shallow", "close/others-go-on"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, check: func(ctx ctxt, req provider.CheckRequest) (provider.CheckResponse, error) {
					if req.Deep {
						return e.Check(ctx, req)
					}
					return provider.CheckResponse{}, provider.Errorf(provider.Unsupported, "only deeply")
				}}
			},
		},
		{
			name: "is quicker than nothing", fails: []string{"check/shallow", "check/deep"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, check: func(ctx ctxt, req provider.CheckRequest) (provider.CheckResponse, error) {
					res, err := e.Check(ctx, req)
					res.Latency = -1
					return res, err
				}}
			},
		},
	}
}

func stateMutants() []mutant {
	// set replaces SetVersionState.
	set := func(do func(ctxt, *toy, provider.SetVersionStateRequest) error) func(everything) provider.KeyManager {
		return onToy(func(e everything, t *toy) *bent {
			return &bent{everything: e, setState: func(ctx ctxt, req provider.SetVersionStateRequest) error { return do(ctx, t, req) }}
		})
	}
	// opens lets Unwrap open what a state closes.
	opens := func(state provider.KeyState) func(everything) provider.KeyManager {
		return onToy(func(e everything, t *toy) *bent {
			return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
				key, err := t.read(ctx)
				if err != nil {
					return nil, err
				}
				for i := range key.Versions {
					if key.Versions[i].State == state {
						key.Versions[i].State = provider.KeyEnabled
					}
				}
				results := make(unwrapResults, len(items))
				for i, item := range items {
					results[i] = key.unwrap(item)
				}
				return results, nil
			}}
		})
	}
	return []mutant{
		{name: "opens wraps of a disabled version", fails: []string{"state/disabled"}, bend: opens(provider.KeyDisabled)},
		{name: "opens wraps of a destroyed version", fails: []string{"state/destroyed"}, bend: opens(provider.KeyDestroyed)},
		{
			name: "rewraps wraps of a disabled version", fails: []string{"state/disabled", "state/destroyed"},
			bend: onToy(func(e everything, t *toy) *bent {
				return &bent{everything: e, rewrap: func(ctx ctxt, items openItems) (wrapResults, error) {
					results, err := e.Rewrap(ctx, items)
					for i := range results {
						if errors.Is(results[i].Err, provider.InvalidState) {
							results[i] = provider.WrapResult{Wrapped: items[i].Wrapped}
						}
					}
					return results, err
				}}
			}),
		},
		{
			name: "takes a disabled version for a damaged wrap", fails: []string{"state/disabled", "state/destroyed"},
			bend: recode(provider.InvalidState, provider.Errorf(provider.Integrity, "it does not open")),
		},
		{
			name: "does not disable", fails: []string{
				"state/disabled", "state/again", "state/destroyed", "state/enabled-again", "state/unknown-version",
			},
			bend: set(func(ctx ctxt, t *toy, req provider.SetVersionStateRequest) error {
				_, err := t.read(ctx)
				return err
			}),
		},
		{
			name: "disables every version", fails: []string{"state/disabled", "state/destroyed"},
			bend: set(func(ctx ctxt, t *toy, req provider.SetVersionStateRequest) error {
				if err := t.SetVersionState(ctx, req); err != nil {
					return err
				}
				return t.change(ctx, func(key *toyKey) error {
					for i := range key.Versions {
						key.Versions[i].State = req.State
					}
					return nil
				})
			}),
		},
		{
			name: "disables a version once", fails: []string{"state/again"},
			bend: set(func(ctx ctxt, t *toy, req provider.SetVersionStateRequest) error {
				d, err := t.DescribeKey(ctx)
				if state, ok := versionState(d, req.Version); err == nil && ok && state == req.State && state == provider.KeyDisabled {
					return provider.Errorf(provider.InvalidState, "it is disabled")
				}
				return t.SetVersionState(ctx, req)
			}),
		},
		{
			name: "never enables again", fails: []string{"state/enabled-again"},
			bend: set(func(ctx ctxt, t *toy, req provider.SetVersionStateRequest) error {
				d, err := t.DescribeKey(ctx)
				if state, ok := versionState(d, req.Version); err == nil && ok && state == provider.KeyDisabled && req.State == provider.KeyEnabled {
					return provider.Errorf(provider.InvalidState, "it is disabled")
				}
				return t.SetVersionState(ctx, req)
			}),
		},
		{
			name: "makes a version that it does not have", fails: []string{"state/unknown-version"},
			bend: set(func(ctx ctxt, t *toy, req provider.SetVersionStateRequest) error {
				err := t.SetVersionState(ctx, req)
				if errors.Is(err, provider.NotFoundVersion) {
					return nil
				}
				return err
			}),
		},
	}
}

func mirrorMutants() []mutant {
	write := func(do func(ctxt, everything, provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error)) func(everything) provider.KeyManager {
		return func(e everything) provider.KeyManager {
			return &bent{everything: e, write: func(ctx ctxt, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
				return do(ctx, e, req)
			}}
		}
	}
	read := func(alter func(*provider.ReadMirrorResponse)) func(everything) provider.KeyManager {
		return func(e everything) provider.KeyManager {
			return &bent{everything: e, read: func(ctx ctxt, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
				res, err := e.ReadMirror(ctx, req)
				if err == nil {
					alter(&res)
				}
				return res, err
			}}
		}
	}
	contents := []string{"mirror/reads-back", "mirror/again", "mirror/advances", "mirror/stores-apart", "mirror/conflict"}
	return []mutant{
		{
			name: "answers an empty head of an empty mirror", fails: []string{"mirror/empty"},
			bend: read(func(res *provider.ReadMirrorResponse) {
				if res.Head == nil {
					res.Head = &provider.MirrorHead{}
				}
			}),
		},
		{name: "forgets who signed", fails: contents, bend: read(func(res *provider.ReadMirrorResponse) {
			if res.Head != nil {
				res.Head.Signer = [4]byte{}
			}
		})},
		{name: "answers events in another order", fails: contents, bend: read(func(res *provider.ReadMirrorResponse) { slices.Reverse(res.Events) })},
		{name: "answers another leaf", fails: contents, bend: read(func(res *provider.ReadMirrorResponse) {
			for i := range res.Events {
				res.Events[i].Leaf[0] ^= 1
			}
		})},
		{name: "says that it is write-only and is read", fails: contents, bend: read(func(res *provider.ReadMirrorResponse) { res.WriteOnly = true })},
		{name: "keeps no event", fails: append([]string{"mirror/range"}, contents...), bend: read(func(res *provider.ReadMirrorResponse) {
			res.Events = nil
		})},
		{name: "keeps events twice", fails: append([]string{"mirror/range"}, contents...), bend: read(func(res *provider.ReadMirrorResponse) {
			res.Events = append(res.Events, res.Events...)
		})},
		{
			name: "writes nothing", fails: append([]string{"mirror/range"}, contents...),
			bend: write(func(ctx ctxt, e everything, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
				_, err := e.DescribeKey(ctx)
				return provider.WriteMirrorResponse{Head: &req.Head}, err
			}),
		},
		{
			name: "answers more than was asked for", fails: []string{"mirror/range"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, read: func(ctx ctxt, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
					req.FromSeq, req.Limit = 1, 100
					return e.ReadMirror(ctx, req)
				}}
			},
		},
		{
			name: "refuses the same record again", fails: []string{"mirror/again"},
			bend: write(func(ctx ctxt, e everything, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
				old, err := e.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: req.StoreID})
				if err == nil && old.Head != nil && old.Head.Root == req.Head.Root {
					return provider.WriteMirrorResponse{}, provider.Errorf(provider.MirrorConflict, "it is there")
				}
				return e.WriteMirror(ctx, req)
			}),
		},
		{
			name: "writes the first record only", fails: []string{"mirror/advances"},
			bend: write(func(ctx ctxt, e everything, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
				old, err := e.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: req.StoreID})
				if err == nil && old.Head != nil && old.Head.Seq < req.Head.Seq {
					return provider.WriteMirrorResponse{Head: &req.Head}, nil
				}
				return e.WriteMirror(ctx, req)
			}),
		},
		{
			name: "does not tell stores apart", fails: []string{"mirror/stores-apart"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, write: func(ctx ctxt, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
					req.StoreID[0] = 0
					return e.WriteMirror(ctx, req)
				}, read: func(ctx ctxt, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
					req.StoreID[0] = 0
					return e.ReadMirror(ctx, req)
				}}
			},
		},
		{
			name: "writes over another history", fails: []string{"mirror/conflict"},
			bend: write(func(ctx ctxt, e everything, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
				res, err := e.WriteMirror(ctx, req)
				if errors.Is(err, provider.MirrorConflict) {
					return provider.WriteMirrorResponse{Head: &req.Head}, nil
				}
				return res, err
			}),
		},
		{
			name: "reads another head back", fails: append([]string{"mirror/range"}, contents...),
			bend: write(func(ctx ctxt, e everything, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
				res, err := e.WriteMirror(ctx, req)
				if res.Head != nil {
					res.Head.Seq++
				}
				return res, err
			}),
		},
	}
}
