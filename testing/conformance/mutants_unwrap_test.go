package conformance

import (
	"bytes"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/keyrotor/keyrotor/core/provider"
)

// onUnwrapped alters what Unwrap answers to an item.
func onUnwrapped(alter func(provider.UnwrapItem, *provider.UnwrapResult)) func(everything) provider.KeyManager {
	return func(e everything) provider.KeyManager {
		return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
			results, err := e.Unwrap(ctx, items)
			for i := range results {
				alter(items[i], &results[i])
			}
			return results, err
		}}
	}
}

// recode gives item errors of one code another error.
func recode(from provider.Code, to error) func(everything) provider.KeyManager {
	return onUnwrapped(func(_ provider.UnwrapItem, r *provider.UnwrapResult) {
		if r.Err != nil && provider.CodeOf(r.Err) == from {
			r.Err = to
		}
	})
}

func unwrapMutants() []mutant {
	integrity := []string{
		"wrap/binds-aad", "generate/binds-aad", "rewrap/binds-aad", "unwrap/altered", "unwrap/another-key", "batch/unwrap-item-error",
	}
	return []mutant{
		{
			name:  "opens a wrap by another KEKID",
			fails: []string{"unwrap/names-the-key"},
			bend:  onUnwrapped(func(_ provider.UnwrapItem, r *provider.UnwrapResult) { r.KEKID = "alias" }),
		},
		{
			name:  "does not say which key opened a wrap",
			fails: []string{"unwrap/names-the-key"},
			bend:  onUnwrapped(func(_ provider.UnwrapItem, r *provider.UnwrapResult) { r.KEKID = "" }),
		},
		{
			name:  "says that the first version opened every wrap",
			fails: []string{"rewrap/newest-version", "rotate/wraps-under-primary"},
			bend:  onUnwrapped(func(_ provider.UnwrapItem, r *provider.UnwrapResult) { r.KEKVersion = "1" }),
		},
		{
			name:  "says that another version opened a wrap",
			fails: []string{"unwrap/names-the-key", "rewrap/newest-version", "rotate/wraps-under-primary"},
			bend:  onUnwrapped(func(_ provider.UnwrapItem, r *provider.UnwrapResult) { r.KEKVersion = "0" }),
		},
		{
			name:  "opens an altered wrap to what it last opened",
			fails: []string{"unwrap/altered"},
			bend: func(e everything) provider.KeyManager {
				return onUnwrapped(func(item provider.UnwrapItem, r *provider.UnwrapResult) {
					if r.Err != nil && bytes.Contains(item.Wrapped.Blob, []byte("and more")) {
						*r = provider.UnwrapResult{Plaintext: provider.NewSecret(newRoot())}
					}
				})(e)
			},
		},
		{
			name:  "ignores what follows a wrap",
			fails: []string{"unwrap/altered"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					items = slices.Clone(items)
					for i := range items {
						blob := items[i].Wrapped.Blob
						items[i].Wrapped.Blob = blob[:min(len(blob), 12+provider.RootSize+16)]
					}
					return e.Unwrap(ctx, items)
				}}
			},
		},
		{
			name:  "takes an empty wrap for a damaged one",
			fails: []string{"unwrap/empty-blob"},
			bend: onUnwrapped(func(item provider.UnwrapItem, r *provider.UnwrapResult) {
				if len(item.Wrapped.Blob) == 0 {
					r.Err = provider.Errorf(provider.Integrity, "it does not open")
				}
			}),
		},
		{name: "calls every key by one name", fails: []string{"unwrap/another-key"}, bend: callAlike},
		{
			name:  "does not look at the key that a wrap names",
			fails: []string{"unwrap/another-key"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					d, err := e.DescribeKey(ctx)
					if err != nil {
						return nil, err
					}
					items = slices.Clone(items)
					for i := range items {
						items[i].Wrapped.KEKID = d.KEKID
					}
					return e.Unwrap(ctx, items)
				}}
			},
		},
		{
			name:  "does not look at the version that a wrap names",
			fails: []string{"unwrap/unknown-version"},
			bend: func(e everything) provider.KeyManager {
				return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
					items = slices.Clone(items)
					for i := range items {
						items[i].Wrapped.KEKVersion = ""
					}
					return e.Unwrap(ctx, items)
				}}
			},
		},
		{name: "denies what does not open", fails: integrity, bend: recode(provider.Integrity, provider.Errorf(provider.Denied, "no"))},
		{name: "answers a bare code", fails: integrity, bend: recode(provider.Integrity, provider.Integrity)},
		{
			name: "answers a plain error", fails: []string{"unwrap/another-key"},
			bend: recode(provider.NotFoundKey, errItem),
		},
		{
			name:  "mixes callers up",
			fails: []string{"concurrent/calls"},
			bend:  mixUp,
		},
	}
}

// mixUp keeps the items of the call in one place for all callers. There is no data
// race that a detector would see, and a caller yields long enough for the others to
// come in between.
func mixUp(e everything) provider.KeyManager {
	var current atomic.Pointer[openItems]
	return &bent{everything: e, unwrap: func(ctx ctxt, items openItems) (unwrapResults, error) {
		current.Store(&items)
		for range 200 {
			runtime.Gosched()
		}
		return e.Unwrap(ctx, *current.Load())
	}}
}

// callAlike gives every key the name of the kind of key that it is.
func callAlike(e everything) provider.KeyManager {
	const name = "the key"
	called := func(results wrapResults, err error) (wrapResults, error) {
		for i := range results {
			results[i].Wrapped.KEKID = name
		}
		return results, err
	}
	b := onDescribed(func(d *provider.DescribeKeyResponse) { d.KEKID = name })(e).(*bent)
	b.wrap = func(ctx ctxt, items wrapItems) (wrapResults, error) { return called(e.Wrap(ctx, items)) }
	b.rewrap = func(ctx ctxt, items openItems) (wrapResults, error) {
		return called(e.Rewrap(ctx, renamed(ctx, e, items, name)))
	}
	b.unwrap = func(ctx ctxt, items openItems) (unwrapResults, error) {
		results, err := e.Unwrap(ctx, renamed(ctx, e, items, name))
		for i := range results {
			results[i].KEKID = name
		}
		return results, err
	}
	b.generate = func(ctx ctxt, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
		res, err := e.GenerateDataKey(ctx, req)
		res.Wrapped.KEKID = name
		return res, err
	}
	b.create = func(ctx ctxt, req provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
		res, err := e.CreateKey(ctx, req)
		res.KEKID = name
		return res, err
	}
	return b
}
