package conformance

import (
	"errors"
	"slices"
	"strconv"

	"github.com/keyrotor/keyrotor/core/provider"
)

func generateMutants() []mutant {
	root := func(alter func(*provider.GenerateDataKeyResponse)) func(everything) provider.KeyManager {
		return func(e everything) provider.KeyManager {
			return &bent{everything: e, generate: func(ctx ctxt, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
				res, err := e.GenerateDataKey(ctx, req)
				if err == nil {
					alter(&res)
				}
				return res, err
			}}
		}
	}
	// always wraps the same root.
	always := func(b []byte) func(everything) provider.KeyManager {
		return func(e everything) provider.KeyManager {
			return &bent{everything: e, generate: func(ctx ctxt, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
				results, err := e.Wrap(ctx, wrapItems{{Plaintext: provider.NewSecret(slices.Clone(b)), AAD: req.AAD}})
				if err != nil {
					return provider.GenerateDataKeyResponse{}, err
				}
				return provider.GenerateDataKeyResponse{Wrapped: results[0].Wrapped, Plaintext: provider.NewSecret(slices.Clone(b))}, nil
			}}
		}
	}
	return []mutant{
		{name: "generates a short root", fails: []string{"generate/root"}, bend: root(func(res *provider.GenerateDataKeyResponse) {
			res.Plaintext = provider.NewSecret(res.Plaintext.Reveal()[:16])
		})},
		{name: "generates a long root", fails: []string{"generate/root"}, bend: root(func(res *provider.GenerateDataKeyResponse) {
			res.Plaintext = provider.NewSecret(append(res.Plaintext.Reveal(), 0))
		})},
		{name: "generates zeros", fails: []string{"generate/root", "generate/independent"}, bend: always(make([]byte, provider.RootSize))},
		{name: "generates the same root twice", fails: []string{"generate/independent"}, bend: always(newRoot())},
		{name: "answers another root than it wraps", fails: []string{"generate/root"}, bend: root(func(res *provider.GenerateDataKeyResponse) {
			res.Plaintext = provider.NewSecret(newRoot())
		})},
		{
			name: "generates without AAD", fails: []string{"generate/root"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, generate: func(ctx ctxt, _ provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
					return e.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
				}}
			},
		},
		{
			name: "generates under an alias", fails: []string{"generate/root", "generate/binds-aad"},
			bend: root(func(res *provider.GenerateDataKeyResponse) { res.Wrapped.KEKID = "alias" }),
		},
	}
}

// onBatches alters what batches of several items are answered.
func onBatches(w func(wrapResults) wrapResults, u func(unwrapResults) unwrapResults, r func(wrapResults) wrapResults) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		b := &bent{everything: e}
		if w != nil {
			b.wrap = func(ctx ctxt, items wrapItems) (wrapResults, error) { return several(w)(e.Wrap(ctx, items)) }
		}
		if u != nil {
			b.unwrap = func(ctx ctxt, items openItems) (unwrapResults, error) { return several(u)(e.Unwrap(ctx, items)) }
		}
		if r != nil {
			b.rewrap = func(ctx ctxt, items openItems) (wrapResults, error) { return several(r)(e.Rewrap(ctx, items)) }
		}
		return b
	}
}

func several[T any](alter func([]T) []T) func([]T, error) ([]T, error) {
	return func(results []T, err error) ([]T, error) {
		if err != nil || len(results) < 2 {
			return results, err
		}
		return alter(results), nil
	}
}

func swap[T any](results []T) []T {
	results[0], results[len(results)-1] = results[len(results)-1], results[0]
	return results
}

func drop[T any](results []T) []T { return results[1:] }

func add[T any](results []T) []T { return append(results, results[0]) }

// blame fails what comes after an item that failed.
func blame(results wrapResults) wrapResults {
	for i := range results[1:] {
		if results[i].Err != nil {
			results[i+1] = provider.WrapResult{Err: results[i].Err}
		}
	}
	return results
}

func blameOpened(results unwrapResults) unwrapResults {
	for i := range results[1:] {
		if results[i].Err != nil {
			results[i+1] = provider.UnwrapResult{Err: results[i].Err}
		}
	}
	return results
}

// first answers the items up to a limit, as a key manager without pages would.
func first[T any](results []T) []T { return results[:min(len(results), 100)] }

func batchMutants() []mutant {
	// A key that has a second version is asked for two wraps at once.
	wrap := []string{"batch/wrap-order", "batch/wrap-item-error", "batch/large"}
	unwrap := []string{"batch/unwrap-order", "batch/unwrap-item-error", "batch/large", "state/disabled", "state/destroyed"}
	rewrap := []string{"batch/rewrap-order", "batch/rewrap-item-error", "batch/large"}
	empty := func(do func(n int)) func(everything) provider.KeyManager {
		return func(e everything) provider.KeyManager {
			return &bent{
				everything: e,
				wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					do(len(items))
					return e.Wrap(ctx, items)
				},
			}
		}
	}
	return []mutant{
		{name: "swaps the results of Wrap", fails: wrap, bend: onBatches(swap, nil, nil)},
		{name: "swaps the results of Unwrap", fails: unwrap, bend: onBatches(nil, swap, nil)},
		{name: "swaps the results of Rewrap", fails: rewrap, bend: onBatches(nil, nil, swap)},
		{name: "drops a result of Wrap", fails: wrap, bend: onBatches(drop, nil, nil)},
		{name: "drops a result of Unwrap", fails: unwrap, bend: onBatches(nil, drop, nil)},
		{name: "adds a result to Wrap", fails: wrap, bend: onBatches(add, nil, nil)},
		{name: "adds a result to Rewrap", fails: rewrap, bend: onBatches(nil, nil, add)},
		{name: "fails the roots after a bad one", fails: []string{"batch/wrap-item-error"}, bend: onBatches(blame, nil, nil)},
		{
			name: "fails the wraps after a bad one", fails: []string{"batch/unwrap-item-error", "state/disabled", "state/destroyed"},
			bend: onBatches(nil, blameOpened, nil),
		},
		{name: "rewraps nothing after a bad wrap", fails: []string{"batch/rewrap-item-error"}, bend: onBatches(nil, nil, blame)},
		{
			name: "has no code for an item", fails: []string{"batch/wrap-item-error"},
			bend: onBatches(func(results wrapResults) wrapResults {
				for i := range results {
					if results[i].Err != nil {
						results[i].Err = errors.New("item " + strconv.Itoa(i))
					}
				}
				return results
			}, nil, nil),
		},
		{name: "answers the first hundred items", fails: []string{"batch/large"}, bend: onBatches(first, first, first)},
		{name: "panics on an empty batch", fails: []string{"batch/empty"}, bend: empty(func(n int) { _ = make([]int, n)[0] })},
		{
			name: "refuses an empty batch", fails: []string{"batch/empty"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					if len(items) == 0 {
						return nil, provider.Errorf(provider.InvalidArgument, "nothing to do")
					}
					return e.Unwrap(ctx, items)
				}}
			},
		},
		{
			name: "has nothing to say to no wrap", fails: []string{"batch/empty"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, rewrap: func(ctx ctxt, items openItems) (wrapResults, error) {
					if len(items) == 0 {
						return make(wrapResults, 1), nil
					}
					return e.Rewrap(ctx, items)
				}}
			},
		},
		{
			name: "fails a batch of roots for one", fails: []string{"batch/wrap-item-error"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					results, err := e.Wrap(ctx, items)
					if i := slices.IndexFunc(results, func(r provider.WrapResult) bool { return r.Err != nil }); i >= 0 {
						return nil, results[i].Err
					}
					return results, err
				}}
			},
		},
		{
			name: "fails a batch of wraps for one", fails: []string{"batch/unwrap-item-error", "state/disabled", "state/destroyed"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					results, err := e.Unwrap(ctx, items)
					if i := slices.IndexFunc(results, func(r provider.UnwrapResult) bool { return r.Err != nil }); i >= 0 {
						return nil, results[i].Err
					}
					return results, err
				}}
			},
		},
		{
			name: "answers a plaintext beside an error", fails: []string{"batch/unwrap-item-error"},
			bend: onUnwrapped(func(_ provider.UnwrapItem, r *provider.UnwrapResult) {
				if r.Err != nil {
					r.Plaintext = provider.NewSecret(newRoot())
				}
			}),
		},
	}
}

// onRewrapped alters how one wrap is rewrapped.
func onRewrapped(do func(ctxt, everything, provider.UnwrapItem) provider.WrapResult) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		return &bent{everything: e, rewrap: func(ctx ctxt, items openItems) (wrapResults, error) {
			results, err := e.Rewrap(ctx, items)
			for i := range results {
				if results[i].Err == nil {
					results[i] = do(ctx, e, items[i])
				}
			}
			return results, err
		}}
	}
}

func rewrapMutants() []mutant {
	other := []string{"rewrap/opens", "rewrap/newest-version", "batch/large", "batch/rewrap-order", "batch/rewrap-item-error"}
	wrapped := func(ctx ctxt, e everything, root provider.Secret, aad []byte) provider.WrapResult {
		results, err := e.Wrap(ctx, wrapItems{{Plaintext: root, AAD: aad}})
		if err != nil {
			return provider.WrapResult{Err: err}
		}
		return results[0]
	}
	return []mutant{
		{
			name: "answers the wrap that it was given", fails: []string{"rewrap/newest-version"},
			bend: onRewrapped(func(_ ctxt, _ everything, item provider.UnwrapItem) provider.WrapResult {
				return provider.WrapResult{Wrapped: item.Wrapped}
			}),
		},
		{
			name: "rewraps another root", fails: other,
			bend: onRewrapped(func(ctx ctxt, e everything, item provider.UnwrapItem) provider.WrapResult {
				return wrapped(ctx, e, provider.NewSecret(newRoot()), item.AAD)
			}),
		},
		{
			name: "rewraps without AAD", fails: append([]string{"rewrap/binds-aad"}, other...),
			bend: onRewrapped(func(ctx ctxt, e everything, item provider.UnwrapItem) provider.WrapResult {
				results, err := e.Unwrap(ctx, openItems{item})
				if err != nil {
					return provider.WrapResult{Err: err}
				}
				return wrapped(ctx, e, results[0].Plaintext, nil)
			}),
		},
		{
			name: "opens no wrap that was rewrapped", fails: []string{"rewrap/opens", "context/canceled-midway"},
			bend: func(e everything) provider.KeyManager {
				cache := roots{byBlob: map[string]provider.Secret{}}
				return &bent{
					everything: e,
					rewrap: func(ctx ctxt, items openItems) (wrapResults, error) {
						results, err := e.Rewrap(ctx, items)
						for i := range results {
							if results[i].Err == nil {
								cache.keep(items[i].Wrapped, provider.Secret{})
							}
						}
						return results, err
					},
					unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
						results, err := e.Unwrap(ctx, items)
						for i := range results {
							if _, ok := cache.kept(items[i].Wrapped); ok {
								results[i] = provider.UnwrapResult{Err: provider.Errorf(provider.Integrity, "it is void")}
							}
						}
						return results, err
					},
				}
			},
		},
		{
			name: "rewraps under another AAD if asked to", fails: []string{"rewrap/binds-aad", "batch/rewrap-item-error"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, rewrap: func(ctx ctxt, items openItems) (wrapResults, error) {
					results, err := e.Rewrap(ctx, items)
					for i := range results {
						if provider.CodeOf(results[i].Err) == provider.Integrity {
							results[i] = wrapped(ctx, e, provider.NewSecret(newRoot()), items[i].AAD)
						}
					}
					return results, err
				}}
			},
		},
	}
}
