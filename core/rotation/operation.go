package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// settleTimeout bounds what is written after a rotation failed or was cancelled.
const settleTimeout = 5 * time.Second

// operation is one run of the sequence.
type operation struct {
	*Rotator
	Request
	id   string
	kind string
	// record is the key as it was seen at first; for a new key the empty one.
	record keyring.Record
	intent store.Intent
	// made is the check value of the new version, once there is one to commit.
	made keyring.KCV
}

// errCommitted stops the record of a failure that was none.
var errCommitted = errors.New("the rotation took place")

func (op *operation) run(ctx context.Context) (Result, error) {
	if err := op.claim(ctx); err != nil {
		return Result{}, err
	}
	op.OnStep(op.Key, StepIntent)

	steps, cancel := context.WithTimeout(ctx, op.IntentTTL*3/4)
	defer cancel()
	m, err := op.make(steps)
	defer m.Root.Wipe()
	if err != nil {
		op.abandon(ctx, err)
		return Result{}, err
	}
	cipher, err := keyring.NewCipher(m.Root, m.Binding, op.Key)
	if err != nil {
		op.abandon(ctx, err)
		return Result{}, err
	}
	key, err := op.commit(ctx, m)
	if err != nil {
		op.abandon(ctx, err)
		return Result{}, err
	}
	op.OnStep(op.Key, StepCommitted)
	result := Result{
		Key: key, Previous: op.record.Primary, Primary: m.Binding.Version, Operation: op.id,
	}
	op.Announce(result, cipher)
	op.OnStep(op.Key, StepAnnounced)
	return result, nil
}

// claim records the intent. While another process holds the key it waits, as long
// as ctx allows; then it looks whether there is still something to do.
func (op *operation) claim(ctx context.Context) error {
	claimer := Claimer{Store: op.Store, Waiting: func() { op.OnStep(op.Key, StepWaiting) }, Impatient: op.scheduled()}
	in, err := claimer.Claim(ctx, store.Claim{
		Key: op.Key, Kind: op.kind, Operation: op.id,
		Owner: op.owner.String(), TTL: op.IntentTTL,
	})
	if err != nil {
		return err
	}
	op.intent = in
	return op.recheck(ctx)
}

// recheck reads the key again now that nobody else may change it.
func (op *operation) recheck(ctx context.Context) error {
	now, err := op.Store.Key(ctx, op.Key)
	switch {
	case op.kind == "create" && errors.Is(err, keyring.ErrUnknownKey):
		return nil
	case op.kind == "create" && err == nil:
		err = fmt.Errorf("%w: %q", store.ErrKeyExists, op.Key)
	case err == nil && (now.Primary != op.record.Primary || now.NextVersion() != op.record.NextVersion()):
		// Without a primary, the versions alone tell.
		err = fmt.Errorf("%w: key %q went from version %d to %d of %d", ErrRotated, op.Key, op.record.Primary, now.Primary, now.NextVersion()-1)
	case err == nil:
		op.record = now.Record
		if err = op.checkDone(ctx); err == nil {
			return nil
		}
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return errors.Join(err, op.Store.End(settle, op.intent))
}

// checkDone answers store.ErrDone if the occasion was served: the decision was made by
// a clock that runs behind the one by which it was served.
func (op *operation) checkDone(ctx context.Context) error {
	if !op.scheduled() {
		return nil
	}
	done, err := op.Store.Done(ctx, op.Key, op.Due)
	if err == nil && done {
		err = fmt.Errorf("%w: key %q, policy %q, slot %s", store.ErrDone, op.Key, op.Due.Policy, op.Due.Slot)
	}
	return err
}

// make draws a root, or takes the one that was asked for, wraps it under each
// provider, and proves each wrap.
func (op *operation) make(ctx context.Context) (wrapping.Material, error) {
	settings := op.record.Settings
	w := wrapping.Wrapper{
		KeyManager: op.KeyManager, Now: op.now,
		Reached: func(s wrapping.Step) { op.OnStep(op.Key, Step(s)) },
	}
	binding := keyring.Binding{
		Store: op.Store.ID(), Key: op.record.ID,
		Version: op.number(), Algorithm: settings.Algorithm,
	}
	return w.Make(ctx, binding, settings.WrapWith, op.Root)
}

// number is that of the version to make.
func (op *operation) number() uint32 { return max(op.record.NextVersion(), op.Above+1) }

// label is that of the version to make.
func (op *operation) label() string { return cmp.Or(op.Label, keyring.VersionLabel(op.number())) }

// checkLabel refuses a label before anything is done outside.
func (op *operation) checkLabel() error {
	if op.Label == "" {
		return nil
	}
	return op.record.CheckLabel(op.number(), op.Label)
}

// commit is the one transaction that makes the version exist and encrypt. It is
// not cut short by ctx: past this point there is nothing left to wait for.
func (op *operation) commit(ctx context.Context, m wrapping.Material) (store.Key, error) {
	op.made = m.KCV
	update, cancel := context.WithTimeout(context.WithoutCancel(ctx), op.IntentTTL/4)
	defer cancel()
	change := store.Update{
		Name: op.Key, Create: op.kind == "create", Fence: &op.intent,
		Apply: func(rec *keyring.Record) ([]history.Event, error) { return op.apply(rec, m) },
	}
	if op.scheduled() {
		change.Due = &op.Due
	}
	key, err := op.Store.Update(update, change)
	if err == nil {
		return key, nil
	}
	// The answer of a commit can be lost after it took place, so look.
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if now, lookErr := op.Store.Key(look, op.Key); lookErr == nil {
		if v, ok := now.Version(m.Binding.Version); ok && v.KCV == m.KCV {
			return now, nil
		}
	}
	return store.Key{}, err
}

// apply changes the record inside the transaction.
func (op *operation) apply(rec *keyring.Record, m wrapping.Material) ([]history.Event, error) {
	if op.kind == "create" {
		*rec = op.record
		rec.Versions = nil
	}
	if rec.Primary != op.record.Primary || rec.NextVersion() != op.record.NextVersion() {
		return nil, fmt.Errorf("%w: key %q is at version %d now", ErrRotated, op.Key, rec.Primary)
	}
	now, number := op.now(), m.Binding.Version
	err := rec.AddVersion(keyring.Version{
		Number: number, Label: op.label(), Algorithm: m.Binding.Algorithm,
		Created: now, Reason: op.Reason, KCV: m.KCV, Wraps: m.Wraps,
	})
	if err != nil {
		return nil, err
	}
	if err := rec.SetPrimary(number, now); err != nil {
		return nil, err
	}
	creation := op.event(history.Creation, now)
	creation.Version, creation.Details = number, op.creationDetails(m)
	if op.kind == "create" {
		return []history.Event{creation}, nil
	}
	rotation := op.event(history.Rotation, now)
	rotation.Version, rotation.PreviousVersion = number, op.record.Primary
	return []history.Event{creation, rotation}, nil
}

// event fills in what the events of one operation share. The names of the details
// are final: `policy` and `slot`, where a policy asked.
func (op *operation) event(t history.Type, at time.Time) history.Event {
	e := history.Event{
		Type: t, Time: at, Actor: op.Actor, Operation: op.id,
		Reason: string(op.Reason), Note: op.Note,
	}
	if op.scheduled() {
		e.Details = map[string]string{"policy": op.Due.Policy, "slot": op.Due.Slot}
	}
	return e
}

// creationDetails says under which keys of which key managers a version was born.
// The names are final: `algorithm`, `label` where one was asked for, and `kek_id.P` and
// `kek_version.P` for each provider P.
func (op *operation) creationDetails(m wrapping.Material) map[string]string {
	details := maps.Clone(op.Details)
	if details == nil {
		details = make(map[string]string)
	}
	if op.Label != "" {
		details["label"] = op.Label
	}
	details["algorithm"] = string(m.Binding.Algorithm)
	for _, w := range m.Wraps {
		details["kek_id."+w.Provider] = w.KEKID
		details["kek_version."+w.Provider] = w.KEKVersion
	}
	return details
}

// abandon gives the claim up after a failure, and records a failed rotation of an
// existing key. It does so even if ctx is over; if it cannot, the claim expires.
func (op *operation) abandon(ctx context.Context, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if op.kind == "create" {
		_ = op.Store.End(ctx, op.intent)
		return
	}
	failure := store.Update{
		Name: op.Key, Fence: &op.intent,
		Apply: func(rec *keyring.Record) ([]history.Event, error) {
			if v, ok := rec.Version(op.number()); ok && v.KCV == op.made {
				return nil, errCommitted // its answer was lost
			}
			failed := op.event(history.RotationFailed, op.now())
			failed.PreviousVersion = op.record.Primary
			failed.ErrorCode = ErrorCode(cause)
			return []history.Event{failed}, nil
		},
	}
	_, err := op.Store.Update(ctx, failure)
	if errors.Is(err, store.ErrFenced) {
		// The claim is another's, which is worth a record all the more.
		failure.Fence = nil
		_, err = op.Store.Update(ctx, failure)
	}
	if err != nil {
		_ = op.Store.End(ctx, op.intent)
	}
}

// ErrorCode is the code that a rotation_failed event carries: a code of
// core/provider in lower case, or one of those below.
func ErrorCode(err error) string {
	switch {
	case errors.Is(err, store.ErrFenced):
		return "fenced"
	case errors.Is(err, ErrRotated), errors.Is(err, store.ErrDone):
		return "rotated"
	case errors.Is(err, keyring.ErrIntegrity):
		return "integrity"
	case errors.Is(err, keyring.ErrFIPS):
		return "fips"
	case errors.Is(err, store.ErrFull):
		return "store_full"
	case errors.Is(err, store.ErrBusy):
		return "store_busy"
	case errors.Is(err, store.ErrReadOnly):
		return "store_read_only"
	case errors.Is(err, store.ErrCorrupt):
		return "store_corrupt"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return strings.ToLower(string(provider.CodeOf(err)))
}
