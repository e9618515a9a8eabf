package conformance

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/keyrotor/keyrotor/core/provider"
)

// The hooks' types, shortened.
type (
	ctxt          = context.Context
	wrapItems     = []provider.WrapItem
	wrapResults   = []provider.WrapResult
	openItems     = []provider.UnwrapItem
	unwrapResults = []provider.UnwrapResult
)

// onWrap alters what Wrap is given.
func onWrap(alter func(*provider.WrapItem)) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
			items = slices.Clone(items)
			for i := range items {
				alter(&items[i])
			}
			return e.Wrap(ctx, items)
		}}
	}
}

// onWrapped alters what Wrap and GenerateDataKey answer.
func onWrapped(alter func(*provider.Wrapped)) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
			results, err := e.Wrap(ctx, items)
			for i := range results {
				alter(&results[i].Wrapped)
			}
			return results, err
		}}
	}
}

func wrapMutants() []mutant {
	return []mutant{
		{
			name:  "loses the zeros that a root begins with",
			fails: []string{"wrap/opens"},
			bend: onWrap(func(item *provider.WrapItem) {
				if rest := bytes.TrimLeft(item.Plaintext.Reveal(), "\x00"); len(rest) == 1 && item.Plaintext.Len() == provider.RootSize {
					item.Plaintext = provider.NewSecret(append(rest, make([]byte, provider.RootSize-1)...))
				}
			}),
		},
		{
			name:  "wraps the same root to the same bytes",
			fails: []string{"wrap/randomised"},
			bend: func(e everything) provider.KeyManager {
				var mu sync.Mutex
				seen := map[string]provider.WrapResult{}
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					results, err := e.Wrap(ctx, items)
					mu.Lock()
					defer mu.Unlock()
					for i := range results {
						id := string(items[i].Plaintext.Reveal()) + string(items[i].AAD)
						if old, ok := seen[id]; ok {
							results[i] = old
						}
						seen[id] = results[i]
					}
					return results, err
				}}
			},
		},
		{
			name:  "names no key in a wrap",
			fails: []string{"wrap/names-the-key", "rotate/wraps-under-primary", "unwrap/another-key"},
			bend: func(e everything) provider.KeyManager {
				b := onWrapped(func(w *provider.Wrapped) { w.KEKID = "" })(e).(*bent)
				b.unwrap = func(ctx ctxt, items openItems) (unwrapResults, error) {
					return e.Unwrap(ctx, renamed(ctx, e, items, ""))
				}
				b.rewrap = func(ctx ctxt, items openItems) (wrapResults, error) {
					return e.Rewrap(ctx, renamed(ctx, e, items, ""))
				}
				return b
			},
		},
		{
			name:  "names an alias in a wrap",
			fails: []string{"wrap/names-the-key", "rotate/wraps-under-primary", "unwrap/another-key"},
			bend: func(e everything) provider.KeyManager {
				b := onWrapped(func(w *provider.Wrapped) { w.KEKID = "alias" })(e).(*bent)
				b.unwrap = func(ctx ctxt, items openItems) (unwrapResults, error) {
					return e.Unwrap(ctx, renamed(ctx, e, items, "alias"))
				}
				b.rewrap = func(ctx ctxt, items openItems) (wrapResults, error) {
					return e.Rewrap(ctx, renamed(ctx, e, items, "alias"))
				}
				return b
			},
		},
		{
			name:  "wraps roots of 16 bytes",
			fails: []string{"wrap/root-size"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					items = slices.Clone(items)
					for i, item := range items {
						if item.Plaintext.Len() == 16 {
							items[i].Plaintext = provider.NewSecret(slices.Concat(item.Plaintext.Reveal(), item.Plaintext.Reveal()))
						}
					}
					return e.Wrap(ctx, items)
				}}
			},
		},
		{
			name:  "cuts off what a root has too much",
			fails: []string{"wrap/root-size"},
			bend: onWrap(func(item *provider.WrapItem) {
				if item.Plaintext.Len() > provider.RootSize {
					item.Plaintext = provider.NewSecret(item.Plaintext.Reveal()[:provider.RootSize])
				}
			}),
		},
	}
}

// renamed gives wraps of an invented KEKID the right one.
func renamed(ctx ctxt, e everything, items openItems, from string) openItems {
	d, err := e.DescribeKey(ctx)
	items = slices.Clone(items)
	for i := range items {
		if err == nil && items[i].Wrapped.KEKID == from {
			items[i].Wrapped.KEKID = d.KEKID
		}
	}
	return items
}

// bound replaces the AAD of every call.
func bound(replace func([]byte) []byte) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		open := func(items openItems) openItems {
			items = slices.Clone(items)
			for i := range items {
				items[i].AAD = replace(items[i].AAD)
			}
			return items
		}
		b := onWrap(func(item *provider.WrapItem) { item.AAD = replace(item.AAD) })(e).(*bent)
		b.generate = func(ctx ctxt, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
			req.AAD = replace(req.AAD)
			return e.GenerateDataKey(ctx, req)
		}
		b.unwrap = func(ctx ctxt, items openItems) (unwrapResults, error) { return e.Unwrap(ctx, open(items)) }
		b.rewrap = func(ctx ctxt, items openItems) (wrapResults, error) { return e.Rewrap(ctx, open(items)) }
		return b
	}
}

func aadMutants() []mutant {
	everywhere := []string{
		"wrap/binds-aad", "generate/binds-aad", "rewrap/binds-aad", "batch/unwrap-item-error", "batch/rewrap-item-error",
	}
	return []mutant{
		{name: "ignores the AAD", fails: everywhere, bend: bound(func([]byte) []byte { return nil })},
		{
			name:  "binds only the beginning of a long AAD",
			fails: []string{"wrap/binds-aad"},
			bend:  bound(func(aad []byte) []byte { return aad[:min(len(aad), 1000)] }),
		},
		{
			name:  "takes the AAD for a string that ends at a zero",
			fails: []string{"wrap/binds-aad"},
			bend: bound(func(aad []byte) []byte {
				before, _, _ := bytes.Cut(aad, []byte{0})
				return before
			}),
		},
		{name: "takes the AAD for text, where case does not count", fails: []string{"wrap/binds-aad"}, bend: bound(bytes.ToLower)},
		{
			name:  "fails on an AAD that is not text",
			fails: []string{"wrap/any-aad"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					for _, item := range items {
						if bytes.Contains(item.AAD, []byte{0xFF}) {
							return nil, provider.Errorf(provider.InvalidArgument, "the AAD is not UTF-8")
						}
					}
					return e.Wrap(ctx, items)
				}}
			},
		},
		{
			name:  "tells no AAD from an empty one",
			fails: []string{"wrap/any-aad"},
			bend: bound(func(aad []byte) []byte {
				if aad == nil {
					return []byte("nil")
				}
				return aad
			}),
		},
		{
			name:  "opens a wrap that was made without AAD under any",
			fails: []string{"wrap/binds-aad"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					results, err := e.Unwrap(ctx, items)
					for i := range results {
						if results[i].Err == nil {
							continue
						}
						bare := items[i]
						bare.AAD = nil
						if again, err := e.Unwrap(ctx, openItems{bare}); err == nil && again[0].Err == nil {
							results[i] = again[0]
						}
					}
					return results, err
				}}
			},
		},
	}
}
