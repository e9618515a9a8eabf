// Package store says what Keyrotor's parts need to persist, as small interfaces;
// the packages below it implement them. A store holds data and makes it last; the
// rules about keys (which state may follow which, what a rotation does) are in
// core/keyring and run inside the store's transactions as plain functions.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// The errors that every store answers.
var (
	// ErrKeyExists: the name is taken, now or in the past.
	ErrKeyExists = errors.New("key exists")
	// ErrFenced: the intent expired or is another's now; nothing was committed.
	ErrFenced = errors.New("the operation lost its claim on the key to another process")
	// ErrCorrupt: the database is damaged.
	ErrCorrupt = errors.New("the store is damaged")
	// ErrSchema: the database, or an event that must be read, was written by a
	// newer build, or by one whose migrations differ from this one's.
	ErrSchema = errors.New("the store has a schema that this build does not know")
	// ErrForeign: the database is another program's.
	ErrForeign = errors.New("not a Keyrotor store")
	// ErrBusy: other processes kept the store locked for too long.
	ErrBusy = errors.New("the store is busy")
	// ErrFull: there is no room to write; nothing was changed.
	ErrFull = errors.New("no room left for the store")
	// ErrReadOnly: this process may read the store but not write it.
	ErrReadOnly = errors.New("the store is read-only")
	// ErrDone: the key was rotated on this occasion already.
	ErrDone = errors.New("the rotation that was due took place already")
	// ErrRecord: a change that would leave a key's record inconsistent.
	ErrRecord = errors.New("inconsistent key record")
)

// Store is everything; consumers ask for the part they need.
type Store interface {
	Clock
	Keys
	Intents
	Leases
	Policies
	Attempts
	Events
	Log
	Retention
	Outbox
	Close() error
}

// Clock tells the time that all processes on a store agree on. Whether a claim, a
// lease or a waiting period is over is for it to say.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
}

// Keys reads and changes key records.
type Keys interface {
	// ID is the store's own UUID.
	ID() keyring.StoreID
	// Names lists the keys in order.
	Names(ctx context.Context) ([]string, error)
	// Key reads one key; keyring.ErrUnknownKey if there is none.
	Key(ctx context.Context, name string) (Key, error)
	// States counts the versions of every key by their states, in the order of keys and
	// states.
	States(ctx context.Context) ([]StateCount, error)
	// KeyName finds the key whose id starts with prefix, which the binary
	// ciphertext carries; keyring.ErrUnknownKey if there is none.
	KeyName(ctx context.Context, prefix [8]byte) (string, error)
	// Revision grows with each update of a key: one cheap read tells a process
	// that polls whether to look again.
	Revision(ctx context.Context) (uint64, error)
	// Update changes one key and appends its events, all or nothing.
	// keyring.ErrIntegrity if the record is not the one that its last event
	// describes: nothing is built upon what somebody changed behind our back.
	// history.ErrText if an event holds a text that none may hold; whoever acts
	// outside before the update asks [history.Event.Check] first.
	Update(ctx context.Context, u Update) (Key, error)
}

// Key is a key as it is stored, and what the store knows beside the record.
type Key struct {
	keyring.Record
	// LastDigest is the digest that the key's newest event carries; see
	// keyring.Record.Verify.
	LastDigest string
	// Uses counts per version: used for good plus outstanding leases. It is the
	// total that the hard limit is about.
	Uses map[uint32]uint64
	// Reencrypted is the part of Uses that re-encryption had, by version, where there
	// is any. A policy leaves it out: re-encrypting a million rows must not call for
	// the next rotation. Uses from before schema 3 count as encryptions.
	Reencrypted map[uint32]uint64
}

// StateCount is how many versions of a key are in a state.
type StateCount struct {
	Key      string
	State    keyring.State
	Versions int
}

// Update is one transaction on one key.
type Update struct {
	Name string
	// Create: the key must not exist; Apply gets an empty record and fills it.
	Create bool
	// Fence, if set, is the intent that must still be held at the commit. The
	// commit ends it.
	Fence *Intent
	// Due, if set, is the occasion that a policy has for this. The commit books it, and
	// fails with ErrDone if it was booked before.
	Due *DueSlot
	// Apply changes the record in place and answers the events that say so; a
	// change without an event is refused. The store gives the events Seq, Key,
	// KeyID, Digest and, where zero, Time. Apply has no side effects: it may run
	// more than once.
	Apply func(*keyring.Record) ([]history.Event, error)
}

// Intents are claims on keys, and on what else only one process may work on: a
// claim's key need not be the name of one ("kek/prod"). An intent is recorded before
// anything is done outside, and at most one of a key is alive. It ends with the commit,
// or by End, or it expires on the store's clock. It holds up no update that has no
// fence: a suspension must not wait for a rotation that hangs.
type Intents interface {
	// Begin claims a key (which need not exist yet). *HeldError if another claim
	// is alive. An expired claim is replaced, unless c keeps it. ErrFenced if c
	// renews one that is gone.
	Begin(ctx context.Context, c Claim) (Intent, error)
	// End gives a claim up. Ending one that is no longer held succeeds.
	End(ctx context.Context, in Intent) error
	// Intents lists the claims that are recorded, expired ones included.
	Intents(ctx context.Context) ([]Intent, error)
}

// Claim asks for an intent.
type Claim struct {
	Key       string
	Kind      string // "create", "rotate", …
	Operation string
	Owner     string // identity of the process
	// Detail is what the operation is about to do outside, in a form of its own. It
	// is for whoever has to find out after a crash whether it was done.
	Detail string
	TTL    time.Duration
	// Replace is the token of an intent that may be replaced before it expires,
	// because its owner is known to be gone; 0 replaces none. Were the owner alive
	// after all, its commit would be fenced.
	Replace uint64
	// Renew: the intent that Replace names must still be there, expired or not.
	Renew bool
	// KeepExpired has an expired claim answered like one that is alive, with no Wait,
	// unless Replace names it: what it was about to do outside must be settled first.
	KeepExpired bool
}

// Intent is a claim that was granted.
type Intent struct {
	Key       string
	Kind      string
	Operation string
	Owner     string
	Detail    string
	// Token grows with each claim of the store: the fencing token.
	Token   uint64
	Started time.Time
	Expires time.Time
}

// HeldError says who holds the key.
type HeldError struct {
	Intent Intent
	// Wait is how long until the claim expires, on the store's clock.
	Wait time.Duration
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("key %q is being worked on (%s, since %s, by %s): try again when that is done, or in %s",
		e.Intent.Key, e.Intent.Kind, e.Intent.Started.UTC().Format(time.RFC3339), e.Intent.Owner, e.Wait.Round(time.Second))
}

// Leases hand out uses of a key's primary version, so that a count is durable
// before the uses happen: what a crashed process held counts as used.
type Leases interface {
	// Acquire grants up to Count uses of the current primary, fewer near the
	// version's hard limit, for at most MaxLeaseTTL. keyring.ErrNoPrimary,
	// keyring.ErrUsageLimit.
	Acquire(ctx context.Context, r LeaseRequest) (Lease, error)
	// Leased answers how many uses of a version are out on leases that have not
	// expired: so many encryptions under it may still happen.
	Leased(ctx context.Context, key string, version uint32) (uint64, error)
	// Held tells which processes hold uses of a key, on leases that have not expired,
	// by version and owner.
	Held(ctx context.Context, key string) ([]Holding, error)
	// Return gives a lease back and books what was used of it. Returning one
	// that has expired changes nothing: it is booked in full already.
	Return(ctx context.Context, l Lease, used uint64) error
}

// MaxLeaseTTL is the longest that a lease lasts: a suspension acts everywhere at
// the latest after it.
const MaxLeaseTTL = 15 * time.Minute

// LeaseRequest asks for uses.
type LeaseRequest struct {
	Key   string
	Owner string
	Count uint64
	TTL   time.Duration
	// Reencrypting: the uses are for values that were encrypted before.
	Reencrypting bool
	// Back are leases to return in the same step, before uses are granted, and also if
	// none are: a busy process writes half as often.
	Back []Returned
}

// Returned is a lease that goes back, and what was used of it.
type Returned struct {
	Lease
	Used uint64
}

// Lease is a number of granted uses of one version.
type Lease struct {
	ID      int64
	Key     string
	Version uint32
	Count   uint64
	Expires time.Time
	// Uses and Reencrypted are the version's, as in [Key], with this grant.
	Uses, Reencrypted uint64
}

// Holding is what a process holds of a version.
type Holding struct {
	Version uint32
	Owner   string
	Leases  int
	// Uses are all that the leases are for, Reencrypting those for re-encryption.
	Uses, Reencrypting uint64
	// Expires is when the last of the leases does.
	Expires time.Time
}

// Attempts counts the decryptions that were refused because their version is in
// quarantine.
type Attempts interface {
	// CountAttempts adds to the count of a version, whatever its state.
	// keyring.ErrUnknownVersion if it does not exist.
	CountAttempts(ctx context.Context, key string, version uint32, n uint64) error
	// Attempts answers the count of a version since it was made.
	Attempts(ctx context.Context, key string, version uint32) (uint64, error)
}

// Events reads the history, and writes what is about no key.
type Events interface {
	// Append adds events that are about the store or a key manager; the events of
	// keys come with Update. fence, if set, must still be held; it goes on, for what is
	// claimed here takes several steps. The store gives the events Seq and, where zero,
	// Time. ErrFenced, history.ErrText.
	Append(ctx context.Context, fence *Intent, events []history.Event) error
	// Events answers the bytes of events as they were stored, newest first, at
	// most MaxEvents at once.
	Events(ctx context.Context, q history.Query) (history.Page, error)
}

// MaxEvents is the largest page of events.
const MaxEvents = 1000

// Log is the Merkle tree over the history.
type Log interface {
	// Root is the number of events and the tree hash over all of them.
	Root(ctx context.Context) (size uint64, root tlog.Hash, err error)
	// Extent is how much there is of the history.
	Extent(ctx context.Context) (history.Extent, error)
	// Record reads one event by its number, or what retention has left of it, with the
	// proof that the log held it when it had size events; 0 is as many as it has.
	// history.ErrNoEvent, ErrCorrupt.
	Record(ctx context.Context, seq, size uint64) (history.Record, error)
}

// Retention takes old events out of the history.
type Retention interface {
	// Prune deletes the bytes of events that are older than p.Before. Their leaves stay
	// in the tree. What stays are the newest event of each key, what a [history.Keeper]
	// keeps, and whatever a subscriber of the feed has not passed yet. It goes in steps
	// that hold up nobody for long; each puts an event of type history.Pruned into the
	// history, unless earlier ones of that type are all that could go. Any number of
	// processes may do it at once. It answers how many events went, also if it fails
	// half way. ErrCorrupt if an event is not the one that the tree has: evidence is not
	// deleted.
	Prune(ctx context.Context, p Prune) (events uint64, err error)
}

// Prune says what may go, and who says so.
type Prune struct {
	Before           time.Time
	Actor, Operation string
}
