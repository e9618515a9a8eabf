package keyring

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"
)

// StoreID is the UUID of the store that a key lives in.
type StoreID [16]byte

// NewStoreID draws a random (version 4) UUID.
func NewStoreID() StoreID { return StoreID(uuid.New()) }

func (id StoreID) String() string { return uuid.UUID(id).String() }

// KeyID is the random identity of a key. Names are for people; everything that
// is bound cryptographically is bound to the id.
type KeyID [16]byte

func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Prefix is the first 8 bytes, big-endian, which a binary ciphertext carries.
func (id KeyID) Prefix() uint64 { return binary.BigEndian.Uint64(id[:8]) }

// Algorithm is the AEAD of a key version.
type Algorithm string

// The algorithms.
const (
	// AES256GCM is AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D, 8.2.2).
	AES256GCM Algorithm = "AES-256-GCM"
	// XChaCha20Poly1305 has a random 192-bit nonce (draft-irtf-cfrg-xchacha-03).
	// It is not available in FIPS mode.
	XChaCha20Poly1305 Algorithm = "XChaCha20-Poly1305"
)

// State is the state of a key version, after NIST SP 800-57 part 1.
type State string

// The states.
const (
	PreActive   State = "pre-active"
	Active      State = "active"
	Deactivated State = "deactivated"
	Suspended   State = "suspended"
	Compromised State = "compromised"
	Quarantined State = "quarantined"
	Destroyed   State = "destroyed"
)

// Reason says why a version was made or a key rotated. The set is closed.
type Reason string

// The reasons.
const (
	ReasonInitial     Reason = "initial"
	ReasonManual      Reason = "manual"
	ReasonEmergency   Reason = "emergency"
	ReasonTimeExpired Reason = "time_expired"
	ReasonUsageLimit  Reason = "usage_limit"
	ReasonScheduled   Reason = "scheduled"
	ReasonComposite   Reason = "composite"
)

// Reasons lists the closed set.
func Reasons() []Reason {
	return []Reason{
		ReasonInitial, ReasonManual, ReasonEmergency, ReasonTimeExpired,
		ReasonUsageLimit, ReasonScheduled, ReasonComposite,
	}
}

// Valid reports whether r is one of the reasons.
func (r Reason) Valid() bool { return slices.Contains(Reasons(), r) }

// Record is one key as the store keeps it: no secrets, only wraps.
type Record struct {
	ID       KeyID
	Name     string
	Created  time.Time
	Settings Settings
	// Primary is the number of the version that encrypts; 0 if the key has none.
	Primary uint32
	// Versions ascend by Number, without repeats.
	Versions []Version
}

// Settings are what an operator chose for a key.
type Settings struct {
	// Algorithm of versions that are made from now on.
	Algorithm Algorithm
	// MinDecryptVersion refuses decryption of versions below it; 0 refuses none.
	MinDecryptVersion uint32
	// BlockReads refuses decryption of compromised versions too.
	BlockReads bool
	// HardLimit is the number of uses at which a version stops encrypting.
	HardLimit uint64
	// WrapWith names the providers that wrap each new version, in order.
	WrapWith []string
}

// Version is one version of a key.
type Version struct {
	Number    uint32
	Label     string
	State     State
	Algorithm Algorithm
	Created   time.Time
	// Activated is zero while the version never was primary.
	Activated time.Time
	// StateChanged is when State last changed.
	StateChanged time.Time
	Reason       Reason
	// KCV is the key check value, see [Root.KCV].
	KCV KCV
	// Wraps ascend by Provider; a provider wraps a version at most once.
	Wraps []Wrap
}

// Wrap is a version's root as one provider wrapped it.
type Wrap struct {
	// Provider is the name of the provider block.
	Provider string
	// KEKID is the full resource name of the key-encryption key, never an alias.
	KEKID string
	// KEKVersion is empty while it is unknown.
	KEKVersion string
	Blob       []byte
	Created    time.Time
}

// KCVSize is the length of a key check value in bytes.
const KCVSize = 16

// KCV is a key check value: it tells whether an unwrapped root is the one that
// was wrapped, and tells nothing else about it.
type KCV [KCVSize]byte

func (k KCV) String() string { return hex.EncodeToString(k[:]) }

// Version answers the version of a number.
func (r *Record) Version(number uint32) (*Version, bool) {
	if i := r.index(number); i >= 0 {
		return &r.Versions[i], true
	}
	return nil, false
}

// index is the place of a version in r.Versions, or -1. Numbers are dense but for
// those that a recovery skipped, so the search starts where the number would be.
func (r *Record) index(number uint32) int {
	i := min(int64(number)-1, int64(len(r.Versions))-1)
	for ; i >= 0 && r.Versions[i].Number >= number; i-- {
		if r.Versions[i].Number == number {
			return int(i)
		}
	}
	return -1
}

// NextVersion is the number for the next version: one more than any before.
func (r *Record) NextVersion() uint32 {
	if len(r.Versions) == 0 {
		return 1
	}
	return r.Versions[len(r.Versions)-1].Number + 1
}

// VersionLabel is the default label of a version.
func VersionLabel(number uint32) string { return fmt.Sprintf("v%d", number) }

// MaxNameLen is the longest key name in bytes.
const MaxNameLen = 63

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// CheckName says whether a key may have this name.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: %q: use 1 to 63 of a-z, 0-9, '.' and '-', starting with a letter or digit", ErrInvalidName, name)
	}
	return nil
}
