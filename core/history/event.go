// Package history is the record of what happened to every key. An auditor who
// trusts neither the operator nor the database can check it later, so an event is
// turned into bytes exactly once: those bytes are stored, hashed into the log and
// mirrored, and never made again from the struct.
//
// All events of one store form one RFC 6962 Merkle tree; event number seq is
// leaf seq-1.
package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// SchemaVersion is the version of the event fields below. Adding a field, a type
// or a detail does not change it: an older build passes over what it does not
// know. A build that changes what is here already counts it up, and older builds
// then refuse the event with ErrSchema rather than misread it.
const SchemaVersion = 1

// ErrSchema: the event was written by a newer build, in a schema that this one
// cannot read. Nothing is damaged.
var ErrSchema = errors.New("the event was written by a newer build")

// ErrText: a text is too long, or not one that an event may hold.
var ErrText = errors.New("not a text for the history")

// What an event may hold at most, in bytes. It is kept for ever and goes to
// mirrors.
const (
	MaxActor = 256
	MaxNote  = 1024
	// MaxSize is that of an event encoded, with whatever a plugin answered in it.
	MaxSize = 16 << 10
)

// Type is what happened. The set is closed; checks of a policy are no events.
type Type string

// The types of events.
const (
	Creation             Type = "creation"
	Rotation             Type = "rotation"
	RotationFailed       Type = "rotation_failed"
	Usage                Type = "usage"
	StateChange          Type = "state"
	DestroyScheduled     Type = "destroy_scheduled"
	DestroyCanceled      Type = "destroy_canceled"
	Destroyed            Type = "destroyed"
	Rewrapped            Type = "rewrapped"
	Reencrypted          Type = "reencrypted"
	KEKRotated           Type = "kek_rotated"
	KEKRotatedExternally Type = "kek_rotated_externally"
	ProviderAdded        Type = "provider_added"
	ProviderRetired      Type = "provider_retired"
	Degraded             Type = "degraded"
	Recovered            Type = "recovered"
	Access               Type = "access"
	ConfigChange         Type = "config"
	SigningKeyChanged    Type = "signing_key_changed"
	Restored             Type = "restored"
	Pruned               Type = "pruned"
)

// Types lists the closed set.
func Types() []Type {
	return []Type{
		Creation, Rotation, RotationFailed, Usage, StateChange, DestroyScheduled,
		DestroyCanceled, Destroyed, Rewrapped, Reencrypted, KEKRotated,
		KEKRotatedExternally, ProviderAdded, ProviderRetired, Degraded, Recovered,
		Access, ConfigChange, SigningKeyChanged, Restored, Pruned,
	}
}

// Event is one entry of the history. Field names, order and meaning are final;
// fields are only ever added, see SchemaVersion.
type Event struct {
	Schema int `json:"schema"`
	// Seq counts the events of the store, from 1 without gaps.
	Seq  uint64    `json:"seq"`
	Type Type      `json:"type"`
	Time time.Time `json:"time"`
	// Actor is "user@host" for the CLI, the service's identity for a service: one
	// line of at most MaxActor bytes.
	Actor string `json:"actor"`
	// Operation is shared by the events of one act, and by their mirror records.
	Operation string `json:"operation_id"`
	Key       string `json:"key,omitempty"`
	// KeyID is the key's id in hex.
	KeyID           string `json:"key_id,omitempty"`
	Version         uint32 `json:"version,omitempty"`
	PreviousVersion uint32 `json:"previous_version,omitempty"`
	// Reason is one of the closed set in package keyring.
	Reason string `json:"reason,omitempty"`
	// Note is free text of the operator: one line of at most MaxNote bytes.
	Note       string `json:"note,omitempty"`
	Provider   string `json:"provider,omitempty"`
	KEKVersion string `json:"kek_version,omitempty"`
	Count      uint64 `json:"count,omitempty"`
	ErrorCode  string `json:"error_code,omitempty"`
	// Digest is the SHA-256 of the key record after the event, see keyring.Digest.String.
	Digest  string            `json:"digest,omitempty"`
	Details map[string]string `json:"details,omitempty"`
}

// Check says whether actor and note may stand in an event, before the act that
// the event is about; Encode refuses the same. Errors are ErrText.
func (e Event) Check() error {
	if err := checkText("actor", e.Actor, MaxActor); err != nil {
		return err
	}
	return checkText("note", e.Note, MaxNote)
}

// checkText wants a line that shows itself as it is: what ends a line or changes
// the direction of writing can make an auditor read something else.
func checkText(what, text string, limit int) error {
	if len(text) > limit {
		return fmt.Errorf("%w: the %s has %d bytes: shorten it to %d", ErrText, what, len(text), limit)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("%w: the %s is not UTF-8: write it in UTF-8", ErrText, what)
	}
	for i, r := range text {
		if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return fmt.Errorf("%w: the %s has the control character %U at byte %d: leave it out", ErrText, what, r, i)
		}
	}
	return nil
}

// Encode turns the event into the bytes that are stored, hashed and mirrored.
// Times are UTC with microseconds.
func (e Event) Encode() ([]byte, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	e.Schema = SchemaVersion
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("history: encode event: %w", err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: the event has %d bytes, and may have %d", ErrText, len(b), MaxSize)
	}
	return b, nil
}

// Decode reads the bytes of one event. Fields that it does not know are left
// alone. ErrSchema if a newer build wrote them in a way that this one cannot read.
func Decode(b []byte) (Event, error) {
	var e Event
	err := json.Unmarshal(b, &e)
	switch {
	case e.Schema > SchemaVersion: // before err: its fields may have other types
		return Event{}, fmt.Errorf("history: event %d has schema %d, and this build reads up to %d: %w: use that build or a newer one", e.Seq, e.Schema, SchemaVersion, ErrSchema)
	case err != nil:
		return Event{}, fmt.Errorf("history: decode event: %w", err)
	case e.Schema < 1:
		return Event{}, fmt.Errorf("history: event %d has schema %d, which no build writes", e.Seq, e.Schema)
	}
	return e, nil
}

// Leaf is the RFC 6962 leaf hash of an event's bytes.
func Leaf(b []byte) tlog.Hash { return tlog.RecordHash(b) }

// Query selects events, newest first. Zero fields select everything.
type Query struct {
	Key     string
	Version uint32
	Type    Type
	Reason  string
	Actor   string
	// Operation is the id that the events of one act share.
	Operation string
	Since     time.Time // inclusive
	Until     time.Time // exclusive
	// Before is the cursor: only events with a smaller seq.
	Before uint64
	// Limit is the most events to answer; 0 means DefaultLimit.
	Limit int
}

// DefaultLimit is the page size of a Query without a Limit.
const DefaultLimit = 100

// Page is one answer to a Query.
type Page struct {
	// Events hold the bytes as stored, newest first.
	Events []json.RawMessage
	// Next is the Before of the following page, 0 if this is the last one.
	Next uint64
}
