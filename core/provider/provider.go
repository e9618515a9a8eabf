// Package provider is the contract between Keyrotor and a key manager.
//
// A provider author implements [KeyManager] for one configured key-encryption
// key (KEK) and hands a constructor to plugins/sdk; Keyrotor's host talks to the
// same interface through a plugin process. Cross-cutting work (deadlines,
// retries, logging) wraps this interface on the host's side and is not the
// author's concern.
//
// What may be missing is data, not a type assertion that fails half-way: a
// provider says its [Capability] set up front, and a call that needs another one
// is refused before anything is done.
package provider

import (
	"context"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/secret"
)

// ProtocolMinor is the revision of keyrotor.provider.v1 that this package speaks.
const ProtocolMinor = 2

// RootSize is the length in bytes of every root that is wrapped.
const RootSize = 32

// The limits of an answer. The host refuses one that exceeds them.
const (
	// MaxBlob is the size in bytes of the largest wrap.
	MaxBlob = 16 << 10
	// MaxText is the length in bytes of the longest id, version, algorithm or other
	// text that stands for itself; it is printable.
	MaxText = 1 << 10
)

// Secret is a byte string that never prints; see package secret.
type Secret = secret.Bytes

// NewSecret takes ownership of b.
func NewSecret(b []byte) Secret { return secret.New(b) }

// Info names a plugin. It is fixed at build time.
type Info struct {
	// Name is the provider type as a config file names it, e.g. "vault-transit".
	Name string
	// Version of the plugin, e.g. "1.4.0".
	Version string
	// ProtocolMinor that the plugin was built with.
	ProtocolMinor uint32
	Capabilities  Capabilities
}

// Capability is something that not every key manager can do.
type Capability string

// The capabilities. Those that a plugin does not list are refused with
// [Unsupported].
const (
	// CanGenerateDataKey: the key manager itself draws roots. Without it the
	// provider draws them from crypto/rand; the call exists either way.
	CanGenerateDataKey Capability = "generate-data-key"
	// CanNativeRewrap: Rewrap shows no plaintext to the plugin.
	CanNativeRewrap Capability = "native-rewrap"
	// CanRotateKey: RotateKey works.
	CanRotateKey Capability = "rotate-key"
	// CanMirror: WriteMirror and ReadMirror work, see [Mirror].
	CanMirror Capability = "mirror"
	// CanCreateKey: CreateKey works, see [KeyCreator].
	CanCreateKey Capability = "create-key"
	// CanSetVersionState: SetVersionState works, see [VersionStateSetter].
	CanSetVersionState Capability = "set-version-state"
	// CanBatch: one request to the key manager carries many items.
	CanBatch Capability = "batch"
)

// Capabilities is a set; order has no meaning.
type Capabilities []Capability

// Has reports whether c is in the set.
func (cs Capabilities) Has(c Capability) bool {
	return slices.Contains(cs, c)
}

// New builds one instance from a configuration that the host has checked
// against the plugin's schema. It must not leave anything behind when it fails;
// it should not touch the network.
type New func(ctx context.Context, cfg Config) (KeyManager, error)

// KeyManager works on one key-encryption key. Every method may be called
// concurrently. Errors are of type [*Error]; anything else reaches the host as
// [Internal].
type KeyManager interface {
	// Check says whether the key manager is reachable, and as whom.
	Check(ctx context.Context, req CheckRequest) (CheckResponse, error)
	// DescribeKey reads the KEK's state and versions.
	DescribeKey(ctx context.Context) (DescribeKeyResponse, error)
	// GenerateDataKey answers a new root of [RootSize] bytes, wrapped and plain.
	GenerateDataKey(ctx context.Context, req GenerateDataKeyRequest) (GenerateDataKeyResponse, error)
	// Wrap encrypts under the KEK's primary version. One result an item, in order.
	Wrap(ctx context.Context, items []WrapItem) ([]WrapResult, error)
	// Unwrap opens wraps of any enabled version. One result an item, in order.
	Unwrap(ctx context.Context, items []UnwrapItem) ([]UnwrapResult, error)
	// Rewrap moves wraps to the KEK's primary version. One result an item, in order.
	Rewrap(ctx context.Context, items []UnwrapItem) ([]WrapResult, error)
	// RotateKey adds a KEK version and makes it primary. It fails with
	// [VersionChanged] if the primary is not req.ExpectedVersion.
	RotateKey(ctx context.Context, req RotateKeyRequest) (RotateKeyResponse, error)
	// Close releases what the instance holds. Closing twice succeeds.
	Close() error
}

// Mirror is implemented by providers with [CanMirror].
type Mirror interface {
	// WriteMirror stores the head and the events; writing the same again succeeds.
	WriteMirror(ctx context.Context, req WriteMirrorRequest) (WriteMirrorResponse, error)
	// ReadMirror answers what is stored.
	ReadMirror(ctx context.Context, req ReadMirrorRequest) (ReadMirrorResponse, error)
}

// KeyCreator is implemented by providers with [CanCreateKey].
type KeyCreator interface {
	// CreateKey makes the configured KEK. If it exists already the call fails
	// with [AlreadyExists] and changes nothing.
	CreateKey(ctx context.Context, req CreateKeyRequest) (CreateKeyResponse, error)
}

// VersionStateSetter is implemented by providers with [CanSetVersionState].
type VersionStateSetter interface {
	// SetVersionState enables, disables or destroys one KEK version.
	SetVersionState(ctx context.Context, req SetVersionStateRequest) error
}

// CheckRequest asks for a health check; Deep also wraps and unwraps a value.
type CheckRequest struct {
	Deep bool
}

// CheckResponse says who we are to the key manager.
type CheckResponse struct {
	Identity string
	Account  string
	Latency  time.Duration
}

// KeyState is the state of a KEK or of one of its versions.
type KeyState string

// The states of a KEK.
const (
	KeyEnabled            KeyState = "enabled"
	KeyDisabled           KeyState = "disabled"
	KeyPendingDestruction KeyState = "pending-destruction"
	KeyDestroyed          KeyState = "destroyed"
)

// DescribeKeyResponse is the KEK as the key manager describes it now.
type DescribeKeyResponse struct {
	// KEKID is the full resource name, never an alias.
	KEKID     string
	State     KeyState
	Algorithm string
	// PrimaryVersion is one of Versions; it is empty where the key manager has none.
	PrimaryVersion string
	// Versions has each version once.
	Versions []KeyVersion
	// IgnoresAAD: wraps under this key open whatever the AAD, because the key manager
	// does not bind them to it. The host's key check value still finds a wrap that was
	// moved, and doctor says that another key would bind it twice.
	IgnoresAAD bool
}

// KeyVersion is one version of the KEK.
type KeyVersion struct {
	Version string
	State   KeyState
	Created time.Time
}

// Wrapped is a root as the key manager encrypted it.
type Wrapped struct {
	// KEKID is the full resource name of the KEK.
	KEKID string
	// KEKVersion is empty where the key manager does not say; Unwrap may tell.
	KEKVersion string
	// Blob has at most [MaxBlob] bytes.
	Blob []byte
}

// GenerateDataKeyRequest carries what the new root's wrap is bound to.
type GenerateDataKeyRequest struct {
	AAD []byte
}

// GenerateDataKeyResponse is a new root. Whoever receives it wipes Plaintext.
type GenerateDataKeyResponse struct {
	Wrapped   Wrapped
	Plaintext Secret
}

// WrapItem is one root to wrap; the wrap opens only with the same AAD. Plaintext is
// the caller's: a provider neither keeps nor wipes it.
type WrapItem struct {
	Plaintext Secret
	AAD       []byte
}

// WrapResult is the outcome of one item: Wrapped, or Err.
type WrapResult struct {
	Wrapped Wrapped
	Err     error
}

// UnwrapItem is one wrap to open.
type UnwrapItem struct {
	Wrapped Wrapped
	AAD     []byte
}

// UnwrapResult is the outcome of one item. KEKID and KEKVersion say which key
// opened it, where the key manager tells; it is the one that the wrap names.
type UnwrapResult struct {
	Plaintext  Secret
	KEKID      string
	KEKVersion string
	Err        error
}

// RotateKeyRequest names the version that the caller saw as primary.
type RotateKeyRequest struct {
	ExpectedVersion string
	RequestID       string
}

// RotateKeyResponse: OldVersion is the one that was expected. While Pending it may be
// empty, and NewVersion is; DescribeKey settles it.
type RotateKeyResponse struct {
	OldVersion string
	NewVersion string
	Pending    bool
}

// CreateKeyRequest makes the configured KEK.
type CreateKeyRequest struct {
	RequestID string
}

// CreateKeyResponse names what was made.
type CreateKeyResponse struct {
	KEKID   string
	Version string
}

// SetVersionStateRequest changes one KEK version.
type SetVersionStateRequest struct {
	Version string
	State   KeyState
}

// MirrorHead is the signed checkpoint of one store's history.
type MirrorHead struct {
	Seq       uint64
	Root      [32]byte
	Time      time.Time
	EventType string
	Signer    [4]byte
	Signature []byte
}

// MirrorEvent is what the mirror keeps of one event.
type MirrorEvent struct {
	Seq         uint64
	KeyID       [16]byte
	Type        string
	Time        time.Time
	MaterialID  string
	Leaf        [32]byte
	OperationID string
	// Event is the event's bytes, for key managers that have room for them.
	Event []byte
}

// WriteMirrorRequest stores Head and Events, which ascend by Seq.
type WriteMirrorRequest struct {
	StoreID   [16]byte
	Head      MirrorHead
	Events    []MirrorEvent
	RequestID string
}

// WriteMirrorResponse carries the head as read back, nil if it cannot be read.
type WriteMirrorResponse struct {
	Head *MirrorHead
}

// ReadMirrorRequest asks for the head and for at most Limit events from FromSeq.
type ReadMirrorRequest struct {
	StoreID [16]byte
	FromSeq uint64
	Limit   uint32
}

// ReadMirrorResponse: Head is nil if nothing was ever written.
type ReadMirrorResponse struct {
	Head      *MirrorHead
	Events    []MirrorEvent
	WriteOnly bool
}
