package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// The providers. A key is wrapped by one of them at a time.
const (
	firstProvider  = "local"
	secondProvider = "second"
)

// node is a process as the model sees it.
type node struct {
	*engine.Engine
	mover
	destroyer *destruction.Destroyer
}

// mover is what moves wraps.
type mover interface {
	RotateKEK(ctx context.Context, req rewrap.KEKRequest) (rewrap.KEKRotation, error)
	RewrapKEK(ctx context.Context, req rewrap.KEKRequest) (rewrap.KEKReport, error)
	Migrate(ctx context.Context, req rewrap.MigrationRequest) (rewrap.MigrationReport, error)
}

// do has a node do something, and says in the model's words what came of it.
func (n node) do(ctx context.Context, o op) result {
	var r result
	err := r.do(ctx, n, o)
	if err != nil {
		r.outcome, r.Error = refused(class(err)), err.Error()
	}
	return r
}

func (r *result) do(ctx context.Context, n node, o op) (err error) {
	switch o.Kind {
	case encrypt, decrypt, reencrypt:
		return r.crypt(ctx, n.Engine, o)
	case create, importKey, importVersion, rotate:
		return r.make(ctx, n.Engine, o)
	case setState:
		_, err = n.SetState(ctx, o.Key, o.Version, o.State, "")
	case setMin:
		_, err = n.Configure(ctx, o.Key, engine.Settings{MinDecryptVersion: &o.Version}, "")
	case setBlock:
		_, err = n.Configure(ctx, o.Key, engine.Settings{BlockReads: &o.On}, "")
	case describe:
		var key store.Key
		if key, err = n.Describe(ctx, o.Key); err == nil {
			r.Record, r.Uses = recordOf(key).String(), tallies(key)
		}
	case schedule:
		_, err = n.destroyer.Schedule(ctx, o.Key, o.Version, quarantine, "")
	case cancel:
		_, err = n.destroyer.Cancel(ctx, o.Key, o.Version, "")
	case destroy:
		_, err = n.destroyer.Run(ctx, o.Key, o.Version, "")
	case force:
		_, err = n.destroyer.Force(ctx, o.Key, o.Version, "why not")
	default:
		return r.move(ctx, n, o)
	}
	return err
}

func (r *result) make(ctx context.Context, e *engine.Engine, o op) error {
	settings := keyring.Settings{WrapWith: []string{firstProvider}, HardLimit: o.Limit}
	var key store.Key
	var done rotation.Result
	var err error
	switch o.Kind {
	case create:
		key, err = e.CreateKey(ctx, o.Key, settings, "")
	case importKey:
		key, err = e.ImportKey(ctx, o.Key, engine.Imported{Root: root(o.Root)}, settings, "")
	case importVersion:
		done, err = e.ImportVersion(ctx, o.Key, engine.Imported{Root: root(o.Root)}, keyring.ReasonManual, "")
	default: // rotate
		done, err = e.Rotate(ctx, o.Key, keyring.ReasonManual, "")
	}
	r.Version = key.Primary + done.Primary // one of the two is there
	return err
}

func (r *result) move(ctx context.Context, n node, o op) error {
	switch o.Kind {
	case migrate:
		from := map[string]string{firstProvider: secondProvider, secondProvider: firstProvider}[o.To]
		done, err := n.Migrate(ctx, rewrap.MigrationRequest{Keys: []string{o.Key}, From: from, To: o.To})
		return errors.Join(err, left(done.Failed))
	case rotateKEK:
		done, err := n.RotateKEK(ctx, rewrap.KEKRequest{Provider: o.To})
		r.Moved = done.Rewrapped
		return errors.Join(err, left(done.Failed))
	case rewrapKEK:
		done, err := n.RewrapKEK(ctx, rewrap.KEKRequest{Provider: o.To})
		r.Moved = done.Rewrapped
		return errors.Join(err, left(done.Failed))
	default:
		return errors.New("the model has no such operation: " + string(o.Kind))
	}
}

// left is an error for wraps that could not be moved.
func left(failed []rewrap.Failure) error {
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("not all was moved: %+v", failed)
}

func (r *result) crypt(ctx context.Context, e *engine.Engine, o op) (err error) {
	switch o.Kind {
	case encrypt:
		if o.Binary {
			r.Bytes, err = e.EncryptBinary(ctx, o.Key, o.Text, o.AAD)
		} else {
			r.Bytes, err = e.Encrypt(ctx, o.Key, o.Text, o.AAD)
		}
		r.Version = versionOf(r.Bytes)
	case decrypt:
		r.Bytes, err = e.Decrypt(ctx, o.Token, o.AAD)
	default: // reencrypt
		r.Bytes, r.Changed, err = e.Reencrypt(ctx, nil, o.Token, o.AAD)
		r.Version = versionOf(r.Bytes)
	}
	return err
}

func root(b []byte) keyring.Root {
	r, err := keyring.NewRoot(bytes.Clone(b))
	if err != nil {
		panic(err) // the model draws as many bytes as it takes
	}
	return r
}

// versionOf reads the version off a ciphertext; 0 if it is none.
func versionOf(ciphertext []byte) uint32 {
	if keyring.IsBinary(ciphertext) {
		if parsed, err := keyring.ParseBinary(ciphertext); err == nil {
			return parsed.Version()
		}
		return 0
	}
	if token, err := keyring.ParseToken(ciphertext); err == nil {
		return token.Version
	}
	return 0
}

// class is the model's word for an error. One that it has no word for is never
// allowed.
func class(err error) string {
	if closed, ok := errors.AsType[*destruction.RefusedError](err); ok {
		var reasons []string
		for _, r := range closed.Reasons {
			reasons = append(reasons, string(r.Code))
		}
		return gate + strings.Join(reasons, "+")
	}
	for _, c := range []struct {
		error
		class string
	}{
		{rotation.ErrRotated, rotated},
		{store.ErrKeyExists, keyExists},
		{keyring.ErrUnknownKey, unknownKey},
		{keyring.ErrUnknownVersion, unknownVersion},
		{keyring.ErrState, badState},
		{rotation.ErrRestored, unrecovered},
		{keyring.ErrNoPrimary, noPrimary},
		{keyring.ErrUsageLimit, usageLimit},
		{keyring.ErrAuthentication, wrong},
		{keyring.ErrWeak, weak},
		{rewrap.ErrNotWrapped, notWrapped},
	} {
		if errors.Is(err, c.error) {
			return c.class
		}
	}
	return "unexpected"
}
