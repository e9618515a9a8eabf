package keyring

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/keyrotor/keyrotor/core/secret"
)

// RootSize is the length in bytes of a root, the secret that is wrapped.
const RootSize = 32

// Root is the secret of one key version. It encrypts nothing itself: the cipher's
// key and the key check value are derived from it.
type Root struct {
	secret.Bytes
}

// NewRoot takes ownership of b, which must be RootSize bytes.
func NewRoot(b []byte) (Root, error) {
	if len(b) != RootSize {
		clear(b)
		return Root{}, fmt.Errorf("%w: a root of %d bytes; %d are needed", ErrIntegrity, len(b), RootSize)
	}
	return Root{secret.New(b)}, nil
}

// GenerateRoot draws a root from the operating system.
func GenerateRoot() Root {
	b := make([]byte, RootSize)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return Root{secret.New(b)}
}

// Binding is everything that a root's derived keys and its wraps are bound to. A
// wrap that is moved to another key, version or store opens nothing there.
type Binding struct {
	Store     StoreID
	Key       KeyID
	Version   uint32
	Algorithm Algorithm
}

// The purposes keep the derived values apart; they are part of the format.
const (
	purposeCipher = "keyrotor/cipher/v1"
	purposeKCV    = "keyrotor/kcv/v1"
	purposeWrap   = "keyrotor/wrap/v1"
)

// info is the HKDF info, and for purposeWrap the AAD: purpose, format byte, store
// UUID, key id, version (u32) and algorithm, each preceded by its length (u16),
// all big-endian.
func (b Binding) info(purpose string) []byte {
	format := []byte{formats[b.Algorithm].id}
	version := binary.BigEndian.AppendUint32(nil, b.Version)
	var out []byte
	for _, field := range [][]byte{[]byte(purpose), format, b.Store[:], b.Key[:], version, []byte(b.Algorithm)} {
		out = binary.BigEndian.AppendUint16(out, uint16(len(field)))
		out = append(out, field...)
	}
	return out
}

// WrapAAD is what a wrap of the root is bound to: a provider passes it on as
// additional data (AWS EncryptionContext, GCP AAD, Vault context).
func (b Binding) WrapAAD() []byte { return b.info(purposeWrap) }

// KCV derives the key check value.
func (r Root) KCV(b Binding) (KCV, error) {
	v, err := r.derive(b, purposeKCV, KCVSize)
	if err != nil {
		return KCV{}, err
	}
	return KCV(v), nil
}

// Verify fails with ErrIntegrity unless the root is the one that want was derived
// from, under the same binding.
func (r Root) Verify(b Binding, want KCV) error {
	got, err := r.KCV(b)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return fmt.Errorf("%w: the unwrapped root does not match the key check value of version %d", ErrIntegrity, b.Version)
	}
	return nil
}

// derive is HKDF-SHA256 (RFC 5869) without salt: the root is uniformly random.
func (r Root) derive(b Binding, purpose string, size int) ([]byte, error) {
	if r.Len() != RootSize {
		return nil, fmt.Errorf("%w: a root of %d bytes; %d are needed", ErrIntegrity, r.Len(), RootSize)
	}
	out, err := hkdf.Key(sha256.New, r.Reveal(), nil, string(b.info(purpose)), size)
	if err != nil {
		return nil, fmt.Errorf("keyring: derive %s: %w", purpose, err)
	}
	return out, nil
}
