package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// The details of events that have a field of their own in a notice, and those that
// notices add. The names are final.
const (
	detailFrom     = "from"
	detailTo       = "to"
	detailPolicy   = "policy"
	detailCount    = "count"
	detailExternal = "external"
)

// FromEvent answers what is told about an event of the history, or about one that stands
// for a notice. It is false for what is not told: uses, reads, settings and what happens
// to wraps are for the history alone.
func FromEvent(e history.Event) (Notice, bool) {
	n := Notice{
		Time: e.Time.UTC().Truncate(time.Microsecond), Key: e.Key, PreviousVersion: e.PreviousVersion, NewVersion: e.Version,
		Reason: e.Reason, Actor: e.Actor, Note: e.Note, Provider: e.Provider, KEKVersion: e.KEKVersion,
		ErrorCode: e.ErrorCode, Operation: e.Operation,
	}
	details := maps.Clone(e.Details)
	if details == nil {
		details = make(map[string]string)
	}
	take := func(name string) string {
		value := details[name]
		delete(details, name)
		return value
	}
	n.Policy = take(detailPolicy)
	if e.Count > 0 {
		details[detailCount] = strconv.FormatUint(e.Count, 10)
	}
	switch e.Type {
	case history.Creation:
		// A rotation creates a version, too, and has an event that says more.
		if e.Version != 1 {
			return Notice{}, false
		}
		n.Type = KeyCreated
	case history.Rotation:
		n.Type = KeyRotated
	case history.RotationFailed:
		n.Type = RotationFailed
	case history.StateChange, history.DestroyCanceled:
		n.Type, n.StateFrom, n.StateTo = VersionStateChanged, take(detailFrom), take(detailTo)
	case history.DestroyScheduled:
		n.Type, n.StateFrom, n.StateTo = VersionStateChanged, take(detailFrom), string(keyring.Quarantined)
	case history.Destroyed:
		n.Type, n.StateFrom, n.StateTo = VersionDestroyed, take(detailFrom), string(keyring.Destroyed)
		if n.StateFrom == "" { // from where else, if it was scheduled
			n.StateFrom = string(keyring.Quarantined)
		}
	case history.KEKRotated:
		n.Type = KEKRotated
	case history.KEKRotatedExternally:
		n.Type = KEKRotated
		details[detailExternal] = "true"
	case history.Degraded:
		n.Type = ProviderDegraded
	case history.Recovered:
		n.Type = ProviderRecovered
	case history.Restored:
		n.Type = StoreRestored
	case history.Usage, history.Rewrapped, history.Reencrypted, history.ProviderAdded, history.ProviderRetired,
		history.Access, history.ConfigChange, history.SigningKeyChanged:
		return Notice{}, false
	default:
		if n.Type = Type(e.Type); !slices.Contains(raised(), n.Type) {
			return Notice{}, false
		}
	}
	if len(details) > 0 {
		n.Details = details
	}
	return n, true
}

// eventID is the id of what is told about an event. A restored backup gives numbers out
// again, to other events: the hash tells them apart. There is no full stop in it, which
// separates the parts of what a webhook signs.
func eventID(e store.FeedEvent) string {
	leaf := history.Leaf(e.Bytes)
	return strconv.FormatUint(e.Seq, 10) + "-" + hex.EncodeToString(leaf[:8])
}

// noticeID is the id of what is told about a notice. Its own may be as long as it likes,
// and have a key's name in it.
func noticeID(n store.Notice) string {
	sum := sha256.Sum256([]byte(n.ID))
	return "n-" + hex.EncodeToString(sum[:12])
}

// fed is a piece of the feed: what is told, or why it cannot be read.
type fed struct {
	Notice
	seq uint64 // of its event, if there is one
	err error
}

// read turns a batch into what is told, in the order of committing as far as that is
// known: events and notices have an order of their own each, and are merged by time.
// What is not told is left out. The error is history.ErrSchema if a newer build wrote a
// part of it, which that build must read.
func read(b store.Batch) ([]fed, error) {
	var events, notices []fed
	for _, e := range b.Events {
		f, told, err := readOne(e.Bytes, eventID(e))
		switch {
		case err != nil:
			return nil, err
		case f.err != nil:
			f.err = fmt.Errorf("event %d: %w", e.Seq, f.err)
		}
		if f.seq = e.Seq; told {
			events = append(events, f)
		}
	}
	for _, n := range b.Notices {
		f, told, err := readOne(n.Bytes, noticeID(n))
		switch {
		case err != nil:
			return nil, err
		case f.err != nil:
			f.err = fmt.Errorf("notice %q: %w", n.ID, f.err)
		}
		if told {
			notices = append(notices, f)
		}
	}
	return merge(events, notices), nil
}
