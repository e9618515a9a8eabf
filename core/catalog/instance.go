package catalog

import (
	"context"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// Instance is one provider block of a config file. It has every method of the
// contract; one that the plugin lacks the capability for fails with
// [provider.Unsupported] before anything is done.
//
// Every error names the provider, the plugin and the call. Calls that change
// nothing in the key manager are tried again where that may help. An answer that
// breaks the contract is an error that holds a [provider.PromiseError]; what this
// instance answered before is part of what it is held to.
type Instance struct {
	name    string
	info    provider.Info
	body    provider.Body
	plugin  *supervisor
	timeout time.Duration
	answers answers
}

var (
	_ provider.KeyManager         = (*Instance)(nil)
	_ provider.Mirror             = (*Instance)(nil)
	_ provider.KeyCreator         = (*Instance)(nil)
	_ provider.VersionStateSetter = (*Instance)(nil)
)

// Name is the label of the provider block, e.g. "prod".
func (in *Instance) Name() string { return in.name }

// Type is the plugin type, e.g. "vault-transit".
func (in *Instance) Type() string { return in.info.Name }

// Info is what the plugin said about itself when it was pinned; the hash of its
// binary vouches for it.
func (in *Instance) Info() provider.Info { return in.info }

// Check implements [provider.KeyManager].
func (in *Instance) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	c := call{name: "Check", repeat: true, slow: req.Deep}
	return send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (provider.CheckResponse, error) {
		res, err := w.Check(ctx, req)
		// Some key managers name whoever asks by the token that he shows.
		res.Identity, res.Account = in.plugin.redact.text(res.Identity), in.plugin.redact.text(res.Account)
		return res, err
	})
}

// DescribeKey implements [provider.KeyManager].
func (in *Instance) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	c := call{name: "DescribeKey", repeat: true}
	return send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (provider.DescribeKeyResponse, error) {
		res, err := w.DescribeKey(ctx)
		if err == nil {
			err = in.answers.holdKEK(res.KEKID)
		}
		return res, err
	})
}

// GenerateDataKey implements [provider.KeyManager].
func (in *Instance) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	c := call{name: "GenerateDataKey", repeat: true}
	return send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (provider.GenerateDataKeyResponse, error) {
		res, err := w.GenerateDataKey(ctx, req)
		if err != nil {
			return res, err
		}
		if err := in.answers.holdDataKey(res); err != nil {
			res.Plaintext.Wipe()
			return provider.GenerateDataKeyResponse{}, err
		}
		return res, nil
	})
}

// Wrap implements [provider.KeyManager].
func (in *Instance) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	c := call{name: "Wrap", repeat: true}
	return in.wraps(ctx, c, func(ctx context.Context, w *wire.Instance) ([]provider.WrapResult, error) {
		results, err := w.Wrap(ctx, items)
		return withoutRoots(items, results, err)
	})
}

// Unwrap implements [provider.KeyManager].
func (in *Instance) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	c := call{name: "Unwrap", repeat: true}
	results, err := send(ctx, in, c, func(ctx context.Context, w *wire.Instance) ([]provider.UnwrapResult, error) {
		results, err := w.Unwrap(ctx, items)
		in.answers.opened(items, results)
		return results, err
	})
	for i := range results {
		results[i].Err = in.named(c, results[i].Err)
	}
	return results, err
}

// Rewrap implements [provider.KeyManager].
func (in *Instance) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	c := call{name: "Rewrap", repeat: true}
	return in.wraps(ctx, c, func(ctx context.Context, w *wire.Instance) ([]provider.WrapResult, error) {
		return w.Rewrap(ctx, items)
	})
}

// RotateKey implements [provider.KeyManager]. It is never repeated: after
// [provider.PluginCrashed] or [provider.Unavailable] the key may have been rotated.
func (in *Instance) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	c := call{name: "RotateKey", needs: provider.CanRotateKey}
	return send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (provider.RotateKeyResponse, error) {
		return w.RotateKey(ctx, req)
	})
}

// WriteMirror implements [provider.Mirror].
func (in *Instance) WriteMirror(ctx context.Context, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
	c := call{name: "WriteMirror", needs: provider.CanMirror}
	return send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (provider.WriteMirrorResponse, error) {
		return w.WriteMirror(ctx, req)
	})
}

// ReadMirror implements [provider.Mirror].
func (in *Instance) ReadMirror(ctx context.Context, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
	c := call{name: "ReadMirror", needs: provider.CanMirror, repeat: true}
	return send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (provider.ReadMirrorResponse, error) {
		return w.ReadMirror(ctx, req)
	})
}

// CreateKey implements [provider.KeyCreator].
func (in *Instance) CreateKey(ctx context.Context, req provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	c := call{name: "CreateKey", needs: provider.CanCreateKey, slow: true}
	return send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (provider.CreateKeyResponse, error) {
		res, err := w.CreateKey(ctx, req)
		if err == nil {
			in.answers.made(res.KEKID)
		}
		return res, err
	})
}

// SetVersionState implements [provider.VersionStateSetter].
func (in *Instance) SetVersionState(ctx context.Context, req provider.SetVersionStateRequest) error {
	c := call{name: "SetVersionState", needs: provider.CanSetVersionState}
	_, err := send(ctx, in, c, func(ctx context.Context, w *wire.Instance) (struct{}, error) {
		return struct{}{}, w.SetVersionState(ctx, req)
	})
	return err
}

// Close releases what the plugin holds for the instance. The process goes on for
// the others, and a later call configures the instance again; [Catalog.Close]
// ends it all.
func (in *Instance) Close() error {
	c := call{name: "Close"}
	ctx, cancel := context.WithTimeout(context.Background(), in.deadline(c))
	defer cancel()
	return in.named(c, in.plugin.release(ctx, in.name))
}

// wraps is what Wrap and Rewrap have in common: results with an error of their own.
func (in *Instance) wraps(ctx context.Context, c call, f func(context.Context, *wire.Instance) ([]provider.WrapResult, error)) ([]provider.WrapResult, error) {
	results, err := send(ctx, in, c, func(ctx context.Context, w *wire.Instance) ([]provider.WrapResult, error) {
		results, err := f(ctx, w)
		if err == nil {
			err = in.answers.holdWraps(results)
		}
		return results, err
	})
	for i := range results {
		results[i].Err = in.named(c, results[i].Err)
	}
	return results, err
}

func (in *Instance) deadline(c call) time.Duration {
	if c.slow {
		return 3 * in.timeout
	}
	return in.timeout
}

func (in *Instance) named(c call, err error) error {
	if err == nil {
		return nil
	}
	return &callError{instance: in.name, plugin: in.Type(), call: c.name, err: in.plugin.redact.err(err)}
}
