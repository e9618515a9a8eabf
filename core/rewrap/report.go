package rewrap

import (
	"errors"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// Progress is where a run has got to. It counts versions.
type Progress struct {
	// Key is the one being worked on.
	Key         string
	Done, Total int
}

// Failure is a version whose wrap stayed as it is, or a key if Version is 0.
type Failure struct {
	Key     string `json:"key"`
	Version uint32 `json:"version"`
	// Code is "provider_" and a code of package provider in lower case, or one that
	// rotation.ErrorCode answers.
	Code  string `json:"code"`
	Error string `json:"error"`
}

func failure(key string, version uint32, err error) Failure {
	code := rotation.ErrorCode(err)
	if _, ok := errors.AsType[*provider.Error](err); ok && !errors.Is(err, keyring.ErrIntegrity) {
		code = "provider_" + code
	}
	return Failure{Key: key, Version: version, Code: code, Error: err.Error()}
}

// KEKReport says what a rewrap did. Its JSON form is stable.
type KEKReport struct {
	Provider string `json:"provider"`
	KEKID    string `json:"kek_id"`
	// KEKVersion is the primary, which the wraps were brought to.
	KEKVersion string `json:"kek_version"`
	// RotatedExternally: somebody else rotated the KEK, and the history knows only now.
	RotatedExternally bool `json:"rotated_externally"`
	// Keys have a version that the provider wraps; Versions are those versions.
	Keys     int `json:"keys"`
	Versions int `json:"versions"`
	// Rewrapped counts the wraps that were replaced.
	Rewrapped int `json:"rewrapped"`
	// Failed lists what should have been rewrapped and was not. Never nil.
	Failed    []Failure `json:"failed"`
	Operation string    `json:"operation_id"`
}

// KEKRotation is a finished rotation, and what was rewrapped after it. Its JSON form
// is stable.
type KEKRotation struct {
	KEKReport
	// Previous is the former primary.
	Previous string `json:"previous"`
	// Resumed: an earlier run had begun this rotation and did not end it.
	Resumed bool `json:"resumed"`
}

// MigrationReport says what a migration did. Its JSON form is stable.
type MigrationReport struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Keys and Versions are what was to be migrated.
	Keys     int `json:"keys"`
	Versions int `json:"versions"`
	// Wrapped counts the wraps that were made, and Retired those that went.
	Wrapped int `json:"wrapped"`
	Retired int `json:"retired"`
	// Failed lists what could not be wrapped anew. The keys that it names are still
	// wrapped by both providers. Never nil.
	Failed    []Failure `json:"failed"`
	Operation string    `json:"operation_id"`
}

// KEK is a key-encryption key as its key manager describes it, and what stands under
// it. Its JSON form is stable.
type KEK struct {
	Provider  string            `json:"provider"`
	KEKID     string            `json:"kek_id"`
	State     provider.KeyState `json:"state"`
	Algorithm string            `json:"algorithm"`
	// Primary is the version that wraps.
	Primary string `json:"primary"`
	// RotatedExternally: the history does not know the primary; a rewrap records it.
	RotatedExternally bool `json:"rotated_externally"`
	// Versions are in the key manager's order. Never nil.
	Versions []KEKVersion `json:"versions"`
	// Elsewhere counts the provider's wraps that stand under none of them: under
	// another KEK, under a version that the key manager does not list, or unknown.
	Elsewhere int `json:"elsewhere"`
}

// KEKVersion is one version of a KEK.
type KEKVersion struct {
	Version string            `json:"version"`
	State   provider.KeyState `json:"state"`
	Created time.Time         `json:"created,omitzero"`
	Primary bool              `json:"primary"`
	// Wraps counts what stands under it.
	Wraps int `json:"wraps"`
}
