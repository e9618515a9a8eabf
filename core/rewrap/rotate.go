package rewrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/provider"
)

// pollInterval is how often a key manager is asked whether a rotation that it accepted
// has taken place.
const pollInterval = 2 * time.Second

// RotateKEK has the key manager make a new version of a provider's KEK, and brings all
// wraps of that provider to it. A rotation that an earlier run did not bring to its
// end is brought to it, and none is begun beside it. ErrKEKRotated if somebody else
// rotated the KEK first.
//
// While another process works on the KEK it waits as ctx allows. If it fails once the
// key manager may have rotated, the error says so, and calling it again goes on.
func (m *Mover) RotateKEK(ctx context.Context, req KEKRequest) (r KEKRotation, err error) {
	op, err := m.begin(req)
	if err != nil {
		return r, err
	}
	if !op.km.Info().Capabilities.Has(provider.CanRotateKey) {
		return r, provider.Errorf(provider.Unsupported, "provider %q cannot rotate its key (it lacks the capability %q): rotate it in the key manager, then run `keyrotor kek rewrap %s`", req.Provider, provider.CanRotateKey, req.Provider)
	}
	before, err := op.describe(ctx)
	if err != nil {
		return r, err
	}
	if err := op.take(ctx, kindRotate, before.PrimaryVersion); err != nil {
		return r, err
	}
	defer func() { err = op.finish(ctx, err) }()
	op.step(StepIntent)
	primary, err := op.rotate(ctx)
	if err != nil {
		return r, err
	}
	r.KEKReport, err = op.rewrap(ctx, primary)
	r.Previous, r.Resumed = op.detail.Expected, op.inherited
	return r, err
}

// RewrapKEK brings all wraps of a provider to the primary version of its KEK. If
// somebody else made that the primary, the history learns of it first.
func (m *Mover) RewrapKEK(ctx context.Context, req KEKRequest) (r KEKReport, err error) {
	op, err := m.begin(req)
	if err != nil {
		return r, err
	}
	if _, err := op.describe(ctx); err != nil {
		return r, err
	}
	if err := op.take(ctx, kindRewrap, ""); err != nil {
		return r, err
	}
	defer func() { err = op.finish(ctx, err) }()
	op.step(StepIntent)
	now, err := op.describe(ctx)
	if err != nil {
		return r, err
	}
	primary := now.PrimaryVersion
	if op.inherited {
		if primary, err = op.settle(ctx, primary, false); err != nil {
			return r, err
		}
	}
	external, err := op.notice(ctx, primary)
	if err != nil {
		return r, err
	}
	r, err = op.rewrap(ctx, primary)
	r.RotatedExternally = external
	return r, err
}

// rotate sees to it that the rotation of op.detail takes place, and answers the new
// primary.
func (op *kekOperation) rotate(ctx context.Context) (primary string, err error) {
	now, err := op.describe(ctx)
	if err != nil {
		return "", err
	}
	if !op.inherited && now.PrimaryVersion != op.detail.Expected {
		return "", op.overtaken(ctx, now.PrimaryVersion)
	}
	return op.settle(ctx, now.PrimaryVersion, true)
}

// settle finds out whether the rotation took place, and records it. With act, one that
// did not is asked for; otherwise it is dropped.
func (op *kekOperation) settle(ctx context.Context, primary string, act bool) (string, error) {
	if _, err := op.notice(ctx, op.detail.Expected); err != nil {
		return "", err
	}
	var err error
	switch {
	case primary != op.detail.Expected:
	case op.detail.Pending:
		primary, err = op.await(ctx)
	case act:
		primary, err = op.ask(ctx)
	default:
		op.unsettled = false
		return primary, nil
	}
	if err != nil {
		return "", err
	}
	op.step(StepRotated)
	if err := op.record(ctx, primary); err != nil {
		return "", err
	}
	op.step(StepRecorded)
	return primary, nil
}

// ask has the key manager rotate. What it answers counts only as far as it describes
// the key accordingly afterwards: an answer can get lost, and it can be a lie.
func (op *kekOperation) ask(ctx context.Context) (primary string, err error) {
	steps, cancel := context.WithTimeout(ctx, op.IntentTTL*3/4)
	defer cancel()
	op.unsettled = true
	answer, err := op.km.RotateKey(steps, provider.RotateKeyRequest{
		ExpectedVersion: op.detail.Expected, RequestID: op.detail.RequestID,
	})
	if refused(err) {
		op.unsettled = op.inherited
		if !errors.Is(err, provider.VersionChanged) {
			return "", err
		}
	}
	look, cancel := lasting(ctx, op.IntentTTL/4)
	defer cancel()
	now, lookErr := op.describe(look)
	switch {
	case lookErr != nil:
		return "", errors.Join(err, lookErr)
	case now.PrimaryVersion == op.detail.Expected && err != nil:
		return "", fmt.Errorf("%w; provider %q still has version %s as the primary of its key", err, op.Provider, now.PrimaryVersion)
	case now.PrimaryVersion == op.detail.Expected && answer.Pending:
		return op.await(ctx)
	case now.PrimaryVersion == op.detail.Expected:
		return "", provider.Errorf(provider.Internal, "provider %q answered that version %q is the new primary of its key, and then that it is still %q", op.Provider, answer.NewVersion, now.PrimaryVersion)
	case errors.Is(err, provider.VersionChanged) && !op.inherited:
		return "", op.overtaken(look, now.PrimaryVersion)
	default:
		return now.PrimaryVersion, nil
	}
}

// refused reports whether a request was turned down for certain, and had no effect.
func refused(err error) bool {
	if err == nil {
		return false
	}
	switch provider.CodeOf(err) {
	case provider.Unavailable, provider.PluginCrashed, provider.Integrity, provider.Internal:
		return false
	default:
		return true
	}
}

// await polls until a rotation that the key manager accepted has taken place.
func (op *kekOperation) await(ctx context.Context) (primary string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("provider %q accepted the rotation of its key, and has not done it yet: %w", op.Provider, err)
		}
	}()
	op.detail.Pending = true
	if err := op.setDetail(); err != nil {
		return "", err
	}
	op.step(StepPending)
	for {
		if err := op.renew(ctx); err != nil {
			return "", err
		}
		now, err := op.describe(ctx)
		switch {
		case err == nil && now.PrimaryVersion != op.detail.Expected:
			return now.PrimaryVersion, nil
		case err != nil && !provider.Transient(err):
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// overtaken ends a rotation that somebody else was quicker with.
func (op *kekOperation) overtaken(ctx context.Context, primary string) error {
	if _, err := op.notice(ctx, primary); err != nil {
		return err
	}
	return fmt.Errorf("%w: provider %q, from version %s to %s; `keyrotor kek rewrap %s` brings the wraps to it", ErrKEKRotated, op.Provider, op.detail.Expected, primary, op.Provider)
}

// record writes the rotation into the history, once. Past this point there is nothing
// to wait for, so it is not cut short by ctx.
func (op *kekOperation) record(ctx context.Context, primary string) error {
	ctx, cancel := lasting(ctx, op.IntentTTL/4)
	defer cancel()
	done, err := op.recorded(ctx)
	if err != nil {
		return err
	}
	if done {
		_, err := op.notice(ctx, primary)
		return err
	}
	e := op.event(history.KEKRotated, primary)
	e.Details[detailPrevious] = op.detail.Expected
	err = op.Store.Append(ctx, &op.intent, []history.Event{e})
	if err == nil {
		return nil
	}
	// The answer of a commit can be lost after it took place, so look.
	look, cancel := lasting(ctx, settleTimeout)
	defer cancel()
	if done, lookErr := op.recorded(look); lookErr == nil && done {
		return nil
	}
	return err
}

// recorded reports whether the history holds this rotation already.
func (op *kekOperation) recorded(ctx context.Context) (found bool, err error) {
	err = history.Walk(ctx, op.Store.Events, history.Query{Type: history.KEKRotated}, func(e history.Event) {
		found = found || e.Operation == op.claim.Operation
	})
	return found, err
}
