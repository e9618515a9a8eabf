// Package rotation makes new key versions: for a new key and for one that is
// rotated. A rotation is a fixed sequence of steps,
//
//	intent → generate → wrap → prove → commit → announce
//
// of which only the commit changes anything that lasts, in one transaction. Before
// it the new root exists in memory alone, so a crash at any step leaves at most an
// intent behind, which expires or is taken over; after it the rotation is done.
// No ciphertext can exist under a version that is not committed, and no version is
// committed whose wraps were not proved to open.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// ErrRotated: another process rotated the key while this rotation waited for its
// turn. Nothing was done; whoever asked decides anew.
var ErrRotated = errors.New("the key was rotated by another process meanwhile")

// DefaultIntentTTL is how long a claim on a key lasts. The steps of a rotation get
// three quarters of it, so a rotation is over before its claim is.
const DefaultIntentTTL = time.Minute

// KindRotate is the kind of the claim on a key that is about to get its next primary.
const KindRotate = "rotate"

// Step is a point of a rotation that was reached.
type Step string

// The steps, in order. Waiting occurs only if another process works on the key.
const (
	StepWaiting   Step = "waiting"
	StepIntent    Step = "intent"
	StepGenerated      = Step(wrapping.Generated)
	StepWrapped        = Step(wrapping.Wrapped)
	StepProved         = Step(wrapping.Proved)
	StepCommitted Step = "committed"
	StepAnnounced Step = "announced"
)

// Store is what rotation needs to persist.
type Store interface {
	store.Keys
	store.Intents
	store.Events
	store.Slots
}

// Config is what a Rotator works with. Store, KeyManager and Actor are required.
type Config struct {
	Store Store
	// KeyManager answers the provider of a name.
	KeyManager func(name string) (wrapping.KeyManager, error)
	// Actor goes into every event, e.g. "user@host".
	Actor string
	// IntentTTL is DefaultIntentTTL if zero.
	IntentTTL time.Duration
	// Now is time.Now if nil.
	Now func() time.Time
	// Announce, if set, receives each rotation that was committed, with the new
	// version opened.
	Announce func(Result, *keyring.Cipher)
	// OnStep, if set, is called at each step, in the rotation's own goroutine.
	OnStep func(key string, step Step)
}

// Rotator makes key versions. It holds no state of its own and may be used
// concurrently.
type Rotator struct {
	Config
	owner Owner
}

// New checks the configuration.
func New(c Config) (*Rotator, error) {
	if c.Store == nil || c.KeyManager == nil || c.Actor == "" {
		return nil, errors.New("rotation: Store, KeyManager and Actor are required")
	}
	if err := (history.Event{Actor: c.Actor}).Check(); err != nil {
		return nil, fmt.Errorf("rotation: %w", err)
	}
	if c.IntentTTL == 0 {
		c.IntentTTL = DefaultIntentTTL
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Announce == nil {
		c.Announce = func(Result, *keyring.Cipher) {}
	}
	if c.OnStep == nil {
		c.OnStep = func(string, Step) {}
	}
	return &Rotator{Config: c, owner: CurrentOwner()}, nil
}

// Request says what to make.
type Request struct {
	Key    string
	Reason keyring.Reason
	Note   string
	// Root is used for the version instead of a new one: an import. It is wiped when
	// the call ends; keyring.ErrWeak if a version of the key has it. The zero Root has one
	// drawn.
	Root keyring.Root
	// Details stand in the creation event beside what is always there.
	Details map[string]string
	// Label of the version; "vN" if it is empty. A label that is given stands in the
	// creation event as its detail `label`.
	Label string
	// Above is a version number that is taken outside of this store, as is every one
	// below it: the new version gets a higher one.
	Above uint32
	// Recovery: the key may have come out of a backup.
	Recovery bool
	// Due is the occasion on which a policy asks. It is booked with the commit, so that
	// the key is rotated once on it. Such a request does not wait while another process
	// works on the key: whoever decided by policy decides anew. Its policy and slot are
	// details of the rotation's event.
	Due store.DueSlot
	// From, if set, is the primary that the request is about: ErrRotated if it is
	// another by now.
	From uint32
	// Number, if set, is the one that the new version is to have, primary or none:
	// ErrRotated if there is one of it by now.
	Number uint32
}

// scheduled reports whether a policy asks.
func (req Request) scheduled() bool { return req.Due != store.DueSlot{} }

// check refuses what would stand in the history for ever.
func (req Request) check() error {
	if err := keyring.CheckName(req.Key); err != nil {
		return err
	}
	if !req.Reason.Valid() {
		return fmt.Errorf("key %q: %q is no reason; use one of %q", req.Key, req.Reason, keyring.Reasons())
	}
	if err := req.checkNumber(req.Above); err != nil {
		return err
	}
	return (history.Event{Note: req.Note}).Check()
}

// checkNumber refuses to make a version above one that leaves no number: the last of all
// has none that could follow it.
func (req Request) checkNumber(above uint32) error {
	if above < math.MaxUint32-1 {
		return nil
	}
	return fmt.Errorf("key %q: no version number is left above %d: create another key, and re-encrypt to it", req.Key, above)
}

// checkMoved answers ErrRotated if the key is not the one that the request is about.
func (req Request) checkMoved(rec *keyring.Record) error {
	switch {
	case req.From != 0 && rec.Primary != req.From:
		return fmt.Errorf("%w: key %q went from version %d to %d", ErrRotated, req.Key, req.From, rec.Primary)
	case req.Number != 0 && rec.NextVersion() != req.Number:
		return fmt.Errorf("%w: key %q has a version %d, and %d is its next", ErrRotated, req.Key, req.Number, rec.NextVersion())
	}
	return nil
}

// Result is a finished rotation.
type Result struct {
	Key store.Key
	// Previous is the former primary, 0 for a new key.
	Previous  uint32
	Primary   uint32
	Operation string
}

// Create makes a key with its first version. Settings need WrapWith; the rest has
// defaults. store.ErrKeyExists if the name is taken.
func (r *Rotator) Create(ctx context.Context, req Request, settings keyring.Settings) (Result, error) {
	defer req.Root.Wipe()
	if err := req.check(); err != nil {
		return Result{}, err
	}
	if settings.Algorithm == "" {
		settings.Algorithm = keyring.AES256GCM
	}
	if !settings.Algorithm.Valid() {
		return Result{}, fmt.Errorf("key %q: unknown algorithm %q", req.Key, settings.Algorithm)
	}
	if settings.HardLimit == 0 {
		settings.HardLimit = keyring.MaxUses
	}
	if settings.HardLimit > keyring.MaxUses {
		return Result{}, fmt.Errorf("key %q: a hard limit of %d uses; at most %d", req.Key, settings.HardLimit, uint64(keyring.MaxUses))
	}
	if len(settings.WrapWith) == 0 {
		return Result{}, fmt.Errorf("key %q: no provider to wrap it with", req.Key)
	}
	switch _, err := r.Store.Key(ctx, req.Key); {
	case err == nil:
		return Result{}, fmt.Errorf("%w: %q", store.ErrKeyExists, req.Key)
	case !errors.Is(err, keyring.ErrUnknownKey):
		return Result{}, err
	}
	op := &operation{
		Rotator: r, Request: req, id: uuid.NewString(), kind: "create",
		record: keyring.Record{
			ID: keyring.KeyID(uuid.New()), Name: req.Key, Created: r.now(), Settings: settings,
		},
	}
	if err := op.checkLabel(); err != nil {
		return Result{}, err
	}
	return op.run(ctx)
}

// Rotate makes a new version of a key and makes it the primary. ErrRotated if
// somebody else did so first; ErrRestored if the key needs a recovery, and this is
// none. For a policy: store.ErrDone if the key was rotated on that occasion before,
// *store.HeldError if another process works on the key.
func (r *Rotator) Rotate(ctx context.Context, req Request) (Result, error) {
	defer req.Root.Wipe()
	if err := req.check(); err != nil {
		return Result{}, err
	}
	before, err := r.Store.Key(ctx, req.Key)
	if err != nil {
		return Result{}, err
	}
	// The commit would refuse it, but what would come before may fail for a reason that
	// leads nowhere.
	if err := before.Verify(r.Store.ID(), before.LastDigest); err != nil {
		return Result{}, err
	}
	if err := req.checkNumber(before.NextVersion() - 1); err != nil {
		return Result{}, err
	}
	if err := req.checkMoved(&before.Record); err != nil {
		return Result{}, err
	}
	if req.Root.Len() > 0 {
		if err := before.CheckNew(r.Store.ID(), req.Root); err != nil {
			return Result{}, err
		}
	}
	if !req.Recovery {
		if err := CheckRestored(ctx, r.Store, &before.Record); err != nil {
			return Result{}, err
		}
	}
	op := &operation{
		Rotator: r, Request: req, id: uuid.NewString(), kind: KindRotate,
		record: before.Record,
	}
	if err := op.checkLabel(); err != nil {
		return Result{}, err
	}
	return op.run(ctx)
}

func (r *Rotator) now() time.Time { return r.Now().UTC().Truncate(time.Microsecond) }
