package conformance

import (
	"sync"

	"github.com/keyrotor/keyrotor/core/provider"
)

// roots is a cache of buffers that belong to somebody else.
type roots struct {
	mu     sync.Mutex
	byBlob map[string]provider.Secret
}

func (r *roots) keep(w provider.Wrapped, root provider.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byBlob[string(w.Blob)] = root
}

func (r *roots) kept(w provider.Wrapped) (provider.Secret, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	root, ok := r.byBlob[string(w.Blob)]
	return root, ok
}

func bufferMutants() []mutant {
	return []mutant{
		{
			name:  "wipes the caller's plaintext",
			fails: []string{"wrap/leaves-the-items"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					defer func() {
						for _, item := range items {
							item.Plaintext.Wipe()
						}
					}()
					return e.Wrap(ctx, items)
				}}
			},
		},
		{
			name:  "changes the caller's AAD",
			fails: []string{"wrap/leaves-the-items"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
					results, err := e.Wrap(ctx, items)
					for _, item := range items {
						clear(item.AAD)
					}
					return results, err
				}}
			},
		},
		{
			name:  "keeps the caller's plaintext",
			fails: []string{"wrap/keeps-no-buffer"},
			bend: func(e everything) provider.KeyManager {
				cache := roots{byBlob: map[string]provider.Secret{}}
				return &bent{
					everything: e,
					wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
						results, err := e.Wrap(ctx, items)
						for i := range results {
							cache.keep(results[i].Wrapped, items[i].Plaintext)
						}
						return results, err
					},
					unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
						results, err := e.Unwrap(ctx, items)
						for i := range results {
							if root, ok := cache.kept(items[i].Wrapped); ok && results[i].Err == nil {
								results[i].Plaintext = root.Clone()
							}
						}
						return results, err
					},
				}
			},
		},
		{
			name:  "answers a plaintext that it keeps",
			fails: []string{"unwrap/keeps-no-buffer"},
			bend: func(e everything) provider.KeyManager {
				cache := roots{byBlob: map[string]provider.Secret{}}
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					results, err := e.Unwrap(ctx, items)
					for i := range results {
						if results[i].Err != nil {
							continue
						}
						if root, ok := cache.kept(items[i].Wrapped); ok {
							results[i].Plaintext = root
						}
						cache.keep(items[i].Wrapped, results[i].Plaintext)
					}
					return results, err
				}}
			},
		},
		{
			name:  "changes the caller's wrap",
			fails: []string{"unwrap/keeps-no-buffer"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					results, err := e.Unwrap(ctx, items)
					for _, item := range items {
						clear(item.Wrapped.Blob)
					}
					return results, err
				}}
			},
		},
	}
}
