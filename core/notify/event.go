package notify

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
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
		history.Access, history.ConfigChange, history.SigningKeyChanged, history.Pruned:
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
