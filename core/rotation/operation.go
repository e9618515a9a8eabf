package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
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

// material is a new version before it is committed.
type material struct {
	binding keyring.Binding
	root    keyring.Root
	kcv     keyring.KCV
	wraps   []keyring.Wrap
}

func (op *operation) run(ctx context.Context) (Result, error) {
	if err := op.claim(ctx); err != nil {
		return Result{}, err
	}
	op.OnStep(op.Key, StepIntent)

	steps, cancel := context.WithTimeout(ctx, op.IntentTTL*3/4)
	defer cancel()
	m, err := op.make(steps)
	defer m.root.Wipe()
	if err != nil {
		op.abandon(ctx, err)
		return Result{}, err
	}
	cipher, err := keyring.NewCipher(m.root, m.binding, op.Key)
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
		Key: key, Previous: op.record.Primary, Primary: m.binding.Version, Operation: op.id,
	}
	op.Announce(result, cipher)
	op.OnStep(op.Key, StepAnnounced)
	return result, nil
}

// claim records the intent. While another process holds the key it waits, as long
// as ctx allows; then it looks whether there is still something to do.
func (op *operation) claim(ctx context.Context) error {
	claim := store.Claim{
		Key: op.Key, Kind: op.kind, Operation: op.id,
		Owner: op.owner.String(), TTL: op.IntentTTL,
	}
	for {
		in, err := op.Store.Begin(ctx, claim)
		if err == nil {
			op.intent = in
			return op.recheck(ctx)
		}
		var held *store.HeldError
		if !errors.As(err, &held) {
			return err
		}
		if ParseOwner(held.Intent.Owner).Gone() {
			claim.Replace = held.Intent.Token
			continue
		}
		op.OnStep(op.Key, StepWaiting)
		// The holder may finish long before its claim expires, so look often.
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(min(held.Wait+time.Millisecond, 200*time.Millisecond)):
		}
	}
}

// recheck reads the key again now that nobody else may change it.
func (op *operation) recheck(ctx context.Context) error {
	now, err := op.Store.Key(ctx, op.Key)
	switch {
	case op.kind == "create" && errors.Is(err, keyring.ErrUnknownKey):
		return nil
	case op.kind == "create" && err == nil:
		err = fmt.Errorf("%w: %q", store.ErrKeyExists, op.Key)
	case err == nil && now.Primary != op.record.Primary:
		err = fmt.Errorf("%w: key %q went from version %d to %d", ErrRotated, op.Key, op.record.Primary, now.Primary)
	case err == nil:
		op.record = now.Record
		return nil
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return errors.Join(err, op.Store.End(settle, op.intent))
}

// make draws a root, wraps it under each provider, and proves each wrap.
func (op *operation) make(ctx context.Context) (material, error) {
	settings := op.record.Settings
	m := material{binding: keyring.Binding{
		Store: op.Store.ID(), Key: op.record.ID,
		Version: op.record.NextVersion(), Algorithm: settings.Algorithm,
	}}
	managers := make([]KeyManager, 0, len(settings.WrapWith))
	for i, name := range settings.WrapWith {
		km, err := op.KeyManager(name)
		if err != nil {
			return m, err
		}
		var wrapped provider.Wrapped
		if i == 0 {
			wrapped, err = m.generate(ctx, km)
		} else {
			wrapped, err = m.wrap(ctx, km)
		}
		if err != nil {
			return m, err
		}
		if i == 0 {
			op.OnStep(op.Key, StepGenerated)
		}
		managers = append(managers, km)
		m.wraps = append(m.wraps, keyring.Wrap{
			Provider: name, KEKID: wrapped.KEKID, KEKVersion: wrapped.KEKVersion,
			Blob: wrapped.Blob, Created: op.now(),
		})
	}
	op.OnStep(op.Key, StepWrapped)
	for i, km := range managers {
		if err := m.prove(ctx, km, &m.wraps[i]); err != nil {
			return m, err
		}
	}
	op.OnStep(op.Key, StepProved)
	var err error
	m.kcv, err = m.root.KCV(m.binding)
	return m, err
}

// generate draws the root: in the key manager if it can do that, else here.
func (m *material) generate(ctx context.Context, km KeyManager) (provider.Wrapped, error) {
	if !km.Info().Capabilities.Has(provider.CanGenerateDataKey) {
		m.root = keyring.GenerateRoot()
		return m.wrap(ctx, km)
	}
	answer, err := km.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{AAD: m.binding.WrapAAD()})
	if err != nil {
		return provider.Wrapped{}, err
	}
	m.root, err = keyring.NewRoot(answer.Plaintext.Reveal())
	return answer.Wrapped, err
}

func (m *material) wrap(ctx context.Context, km KeyManager) (provider.Wrapped, error) {
	item := provider.WrapItem{Plaintext: m.root.Bytes, AAD: m.binding.WrapAAD()}
	results, err := km.Wrap(ctx, []provider.WrapItem{item})
	if err != nil {
		return provider.Wrapped{}, err
	}
	if len(results) != 1 {
		return provider.Wrapped{}, provider.Errorf(provider.Internal, "the provider answered %d results for 1 wrap", len(results))
	}
	return results[0].Wrapped, results[0].Err
}

// prove opens a new wrap again, as a later process would, and compares. What
// cannot be read back never becomes primary.
func (m *material) prove(ctx context.Context, km KeyManager, w *keyring.Wrap) error {
	opened, kekVersion, err := Unwrap(ctx, km, m.binding, *w)
	defer opened.Wipe()
	if err != nil {
		return fmt.Errorf("prove the wrap of provider %q: %w", w.Provider, err)
	}
	if !opened.Equal(m.root.Bytes) {
		return fmt.Errorf("%w: provider %q opened another root than it had wrapped; it must not be used until that is explained", keyring.ErrIntegrity, w.Provider)
	}
	switch {
	case kekVersion == "":
	case w.KEKVersion == "":
		w.KEKVersion = kekVersion
	case w.KEKVersion != kekVersion:
		return fmt.Errorf("%w: provider %q wrapped with version %q of its key and opened with version %q", keyring.ErrIntegrity, w.Provider, w.KEKVersion, kekVersion)
	}
	return nil
}

// Unwrap opens one wrap and checks what the provider says of it, but not the root
// itself: compare it, or verify it against the version's key check value.
func Unwrap(ctx context.Context, km provider.KeyManager, b keyring.Binding, w keyring.Wrap) (root keyring.Root, kekVersion string, err error) {
	item := provider.UnwrapItem{
		Wrapped: provider.Wrapped{KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob},
		AAD:     b.WrapAAD(),
	}
	results, err := km.Unwrap(ctx, []provider.UnwrapItem{item})
	defer func() {
		if err != nil { // whatever came with it is nobody's
			for _, r := range results {
				r.Plaintext.Wipe()
			}
		}
	}()
	if err != nil {
		return root, "", err
	}
	if len(results) != 1 {
		return root, "", provider.Errorf(provider.Internal, "the provider answered %d results for 1 unwrap", len(results))
	}
	answer := results[0]
	if answer.Err != nil {
		return root, "", answer.Err
	}
	if answer.KEKID != "" && answer.KEKID != w.KEKID {
		return root, "", fmt.Errorf("%w: provider %q opened a wrap of %q and says it used %q", keyring.ErrIntegrity, w.Provider, w.KEKID, answer.KEKID)
	}
	root, err = keyring.NewRoot(answer.Plaintext.Reveal())
	return root, answer.KEKVersion, err
}

// commit is the one transaction that makes the version exist and encrypt. It is
// not cut short by ctx: past this point there is nothing left to wait for.
func (op *operation) commit(ctx context.Context, m material) (store.Key, error) {
	op.made = m.kcv
	update, cancel := context.WithTimeout(context.WithoutCancel(ctx), op.IntentTTL/4)
	defer cancel()
	key, err := op.Store.Update(update, store.Update{
		Name: op.Key, Create: op.kind == "create", Fence: &op.intent,
		Apply: func(rec *keyring.Record) ([]history.Event, error) { return op.apply(rec, m) },
	})
	if err == nil {
		return key, nil
	}
	// The answer of a commit can be lost after it took place, so look.
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if now, lookErr := op.Store.Key(look, op.Key); lookErr == nil {
		if v, ok := now.Version(m.binding.Version); ok && v.KCV == m.kcv {
			return now, nil
		}
	}
	return store.Key{}, err
}

// apply changes the record inside the transaction.
func (op *operation) apply(rec *keyring.Record, m material) ([]history.Event, error) {
	if op.kind == "create" {
		*rec = op.record
		rec.Versions = nil
	}
	if rec.Primary != op.record.Primary || rec.NextVersion() != m.binding.Version {
		return nil, fmt.Errorf("%w: key %q is at version %d now", ErrRotated, op.Key, rec.Primary)
	}
	now, number := op.now(), m.binding.Version
	err := rec.AddVersion(keyring.Version{
		Number: number, Label: keyring.VersionLabel(number), Algorithm: m.binding.Algorithm,
		Created: now, Reason: op.Reason, KCV: m.kcv, Wraps: m.wraps,
	})
	if err != nil {
		return nil, err
	}
	if err := rec.SetPrimary(number, now); err != nil {
		return nil, err
	}
	creation := op.event(history.Creation, now)
	creation.Version, creation.Details = number, creationDetails(m)
	if op.kind == "create" {
		return []history.Event{creation}, nil
	}
	rotation := op.event(history.Rotation, now)
	rotation.Version, rotation.PreviousVersion = number, op.record.Primary
	return []history.Event{creation, rotation}, nil
}

// creationDetails says under which keys of which key managers a version was born.
// The names are final: `algorithm`, and `kek_id.P` and `kek_version.P` for each
// provider P.
func creationDetails(m material) map[string]string {
	details := map[string]string{"algorithm": string(m.binding.Algorithm)}
	for _, w := range m.wraps {
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
			if v, ok := rec.Version(op.record.NextVersion()); ok && v.KCV == op.made {
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
	case errors.Is(err, ErrRotated):
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
