package notify

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Type is what a notice tells.
type Type string

// The types of notices. A name is final; more may come.
const (
	KeyCreated          Type = "key_created"
	KeyRotated          Type = "key_rotated"
	RotationFailed      Type = "rotation_failed"
	RotationDueSoon     Type = "rotation_due_soon"
	UsageThreshold      Type = "usage_threshold"
	VersionStateChanged Type = "version_state_changed"
	VersionDestroyed    Type = "version_destroyed"
	KEKRotated          Type = "kek_rotated"
	ProviderDegraded    Type = "provider_degraded"
	ProviderRecovered   Type = "provider_recovered"
	StoreRestored       Type = "store_restored"
	// MirrorLag is told when the mirror of the history falls behind. Nothing raises it as
	// long as there is no mirror.
	MirrorLag    Type = "mirror_lag"
	VerifyFailed Type = "verify_failed"
)

// TypeTest is that of the notice which [Notifier.Test] sends. It is not one to ask for.
const TypeTest Type = "test"

// Types lists what can be asked for.
func Types() []Type {
	return []Type{
		KeyCreated, KeyRotated, RotationFailed, RotationDueSoon, UsageThreshold,
		VersionStateChanged, VersionDestroyed, KEKRotated, ProviderDegraded,
		ProviderRecovered, StoreRestored, MirrorLag, VerifyFailed,
	}
}

// Valid reports whether the type is one of [Types].
func (t Type) Valid() bool { return slices.Contains(Types(), t) }

// raised are the types that no event of the history stands behind.
func raised() []Type { return []Type{RotationDueSoon, UsageThreshold, MirrorLag, VerifyFailed} }

// Notice is what is told: one thing that happened to a key, a provider or the store. The
// JSON form is the data of the CloudEvent; fields are only ever added.
type Notice struct {
	// ID is the same however often the notice comes. It is empty in what FromEvent
	// answers.
	ID   string    `json:"-"`
	Type Type      `json:"type"`
	Time time.Time `json:"time"`
	// Key is empty where it is about a provider or the store.
	Key             string `json:"key,omitempty"`
	PreviousVersion uint32 `json:"previous_version,omitempty"`
	// NewVersion is the version that was made, or else the one that it is about.
	NewVersion uint32 `json:"new_version,omitempty"`
	// StateFrom and StateTo are those of a change of state.
	StateFrom string `json:"state_from,omitempty"`
	StateTo   string `json:"state_to,omitempty"`
	// Reason is one of the closed set in package keyring.
	Reason string `json:"reason,omitempty"`
	// Policy is the one that asked for a rotation.
	Policy     string `json:"policy,omitempty"`
	Actor      string `json:"actor,omitempty"`
	Note       string `json:"note,omitempty"`
	Provider   string `json:"provider,omitempty"`
	KEKVersion string `json:"kek_version,omitempty"`
	ErrorCode  string `json:"error_code,omitempty"`
	// Operation is that of the events of the history.
	Operation string `json:"operation_id,omitempty"`
	// Details are those of the event which no field above has.
	Details map[string]string `json:"details,omitempty"`
}

// Subject is what the notice is about: the key, "provider/" and its name, or, if it is
// about the store, nothing.
func (n Notice) Subject() string {
	switch {
	case n.Key != "":
		return n.Key
	case n.Provider != "":
		return "provider/" + n.Provider
	}
	return ""
}

// concerns reports whether a target that asks for some keys is to hear of it. What is
// about a provider names the keys that it touches, or touches all, as does what is about
// the store. Of many keys it names the first and counts all: any may be among the others.
func (n Notice) concerns(keys []string) bool {
	if n.Key != "" {
		return selects(keys, n.Key)
	}
	named, ok := n.Details["keys"]
	if !ok {
		return true
	}
	names := strings.Split(named, ",")
	if count, err := strconv.Atoi(n.Details[detailCount]); err == nil && count > len(names) {
		return true
	}
	return slices.ContainsFunc(names, func(k string) bool { return selects(keys, k) })
}
