package rewrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// The kinds of intents on a KEK.
const (
	kindRotate = "rotate-kek"
	kindRewrap = "rewrap-kek"
)

// KEKRequest says which provider's KEK is meant.
type KEKRequest struct {
	Provider string
	Note     string
	// Progress, if set, is called for each batch.
	Progress func(Progress)
}

// kekOperation is what one claim on a KEK covers.
type kekOperation struct {
	*Mover
	KEKRequest
	km    wrapping.KeyManager
	kekID string
	// claim is what intent was granted for, with whatever was inherited.
	claim  store.Claim
	intent store.Intent
	// detail is the rotation that the intent is about; empty in a rewrap.
	detail detail
	// inherited: another run began the rotation and did not end it.
	inherited bool
	// unsettled: the key manager may have rotated, and not everything that follows
	// from it is done.
	unsettled bool
}

// begin checks a request before anything is done.
func (m *Mover) begin(req KEKRequest) (*kekOperation, error) {
	if err := (history.Event{Note: req.Note}).Check(); err != nil {
		return nil, err
	}
	km, err := m.KeyManager(req.Provider)
	if err != nil {
		return nil, err
	}
	if req.Progress == nil {
		req.Progress = func(Progress) {}
	}
	return &kekOperation{Mover: m, KEKRequest: req, km: km}, nil
}

// describe asks the key manager. What it answers is about to stand in the history, so
// an answer that names nothing is refused, and so is a KEK that is another one by now.
func (op *kekOperation) describe(ctx context.Context) (provider.DescribeKeyResponse, error) {
	d, err := op.km.DescribeKey(ctx)
	switch {
	case err != nil:
		return d, err
	case d.KEKID == "":
		return d, provider.Errorf(provider.Internal, "provider %q describes its key without naming it", op.Provider)
	case d.PrimaryVersion == "":
		return d, provider.Errorf(provider.Unsupported, "provider %q: the key manager names no primary version of %s, so it can be neither rotated nor rewrapped to: "+
			"give the key one there; where its kind has none, make another key and run `keyrotor key migrate`", op.Provider, d.KEKID)
	case op.kekID == "":
		op.kekID = d.KEKID
	case op.kekID != d.KEKID:
		return d, fmt.Errorf("%w: provider %q named the key-encryption key %q, and now names %q", keyring.ErrIntegrity, op.Provider, op.kekID, d.KEKID)
	}
	return d, nil
}

// take claims the KEK once it is free. If a rotation was left unfinished there, the
// operation goes on with that one; expected is empty for an operation that rotates
// nothing itself.
func (op *kekOperation) take(ctx context.Context, kind, expected string) error {
	op.claim = store.Claim{
		Key: op.subject(), Kind: kind, Operation: uuid.NewString(), Owner: op.owner,
		TTL: op.IntentTTL, KeepExpired: true,
	}
	if expected != "" {
		op.detail = detail{KEKID: op.kekID, Expected: expected, RequestID: op.claim.Operation}
		if err := op.setDetail(); err != nil {
			return err
		}
	}
	claimer := rotation.Claimer{
		Store:   op.Store,
		Waiting: func() { op.step(StepWaiting) },
		Inherit: op.inherit,
	}
	in, err := claimer.Claim(ctx, op.claim)
	if err != nil {
		return err
	}
	op.intent = in
	if in.Operation == op.claim.Operation {
		return nil
	}
	op.claim.Kind, op.claim.Operation, op.claim.Detail = in.Kind, in.Operation, in.Detail
	op.inherited, op.unsettled = true, true
	op.detail, err = parseDetail(in.Detail)
	return err
}

// inherit takes over what a run left that did not come to its end. If the provider's
// configuration names another KEK since then, nobody can settle it any more.
func (op *kekOperation) inherit(left store.Intent, c *store.Claim) error {
	if left.Detail == "" {
		return nil
	}
	d, err := parseDetail(left.Detail)
	if err != nil || d.KEKID != op.kekID {
		return err
	}
	c.Kind, c.Operation, c.Detail = left.Kind, left.Operation, left.Detail
	return nil
}

func (op *kekOperation) setDetail() (err error) {
	op.claim.Detail, err = op.detail.encode()
	return err
}

// renew prolongs the claim. store.ErrFenced if another process has taken it over, and
// may have ended it since.
func (op *kekOperation) renew(ctx context.Context) error {
	op.claim.Replace, op.claim.Renew = op.intent.Token, true
	in, err := op.Store.Begin(ctx, op.claim)
	if errors.Is(err, store.ErrFenced) {
		return fmt.Errorf("%w; what was committed stays, and that process sees to the rest", err)
	}
	if err == nil {
		op.intent = in
	}
	return err
}

// finish gives the claim up. What is unsettled is left for the next run, which need
// not wait until the claim expires.
func (op *kekOperation) finish(ctx context.Context, cause error) error {
	ctx, cancel := lasting(ctx, settleTimeout)
	defer cancel()
	if cause == nil || !op.unsettled {
		return errors.Join(cause, op.Store.End(ctx, op.intent))
	}
	if errors.Is(cause, store.ErrFenced) {
		return cause // another process goes on with it
	}
	op.claim.TTL = time.Microsecond
	if err := op.renew(ctx); errors.Is(err, store.ErrFenced) {
		return errors.Join(cause, err)
	} // after any other error it expires later
	return fmt.Errorf("%w; the rotation of the key-encryption key is not finished: run the command again, it goes on where this run stopped", cause)
}

func (op *kekOperation) subject() string { return "kek/" + op.Provider }

func (op *kekOperation) step(s rotation.Step) { op.OnStep(op.subject(), s) }

// event fills in what the events of the operation share.
func (op *kekOperation) event(t history.Type, kekVersion string) history.Event {
	return history.Event{
		Type: t, Time: op.Now(), Actor: op.Actor, Operation: op.claim.Operation, Note: op.Note,
		Provider: op.Provider, KEKVersion: kekVersion,
		Details: map[string]string{detailKEKID: op.kekID},
	}
}

// notice records that somebody else made a version the primary, unless the history
// knows it as one.
func (op *kekOperation) notice(ctx context.Context, primary string) (external bool, err error) {
	last, known, err := op.lineage(ctx, op.kekID, primary)
	if err != nil || known {
		return false, err
	}
	e := op.event(history.KEKRotatedExternally, primary)
	e.Details[detailPrevious] = last
	return true, op.Store.Append(ctx, &op.intent, []history.Event{e})
}
