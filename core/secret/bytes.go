// Package secret holds the types that carry secrets through Keyrotor, so that a
// root, a passphrase or a credential cannot reach a log, an error or an event by
// being printed: every way that Go has of formatting a value answers a fixed
// text instead.
//
// It is a leaf: the contract that providers implement (core/provider) and the
// cipher (core/keyring) both need such a type and neither may import the other.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Redacted is what a secret prints as.
const Redacted = "[redacted]"

// Bytes is a secret byte string. The zero value is empty. Copies of a Bytes share
// one buffer, so Wipe empties them all.
//
// The buffer sits behind two pointers because fmt walks into unexported fields,
// where it cannot call our methods. It follows one pointer, for %+v at the top and
// for a verb that does not fit; of a pointer to a pointer it prints the address.
type Bytes struct {
	p **[]byte
}

// New takes ownership of b: the caller must not use b afterwards.
func New(b []byte) Bytes {
	p := &b
	return Bytes{p: &p}
}

// FromString copies s into a new secret. The string itself cannot be wiped.
func FromString(s string) Bytes {
	return New([]byte(s))
}

// Reveal returns the secret itself, not a copy. It is nil after Wipe.
func (s Bytes) Reveal() []byte {
	if s.p == nil {
		return nil
	}
	return **s.p
}

// Len is the number of bytes.
func (s Bytes) Len() int {
	return len(s.Reveal())
}

// Equal compares in time that depends on the lengths only.
func (s Bytes) Equal(other Bytes) bool {
	return subtle.ConstantTimeCompare(s.Reveal(), other.Reveal()) == 1
}

// Clone returns a secret with a buffer of its own.
func (s Bytes) Clone() Bytes {
	return New(append([]byte(nil), s.Reveal()...))
}

// Wipe overwrites the buffer with zeros and lets go of it. Copies that the
// garbage collector or the kernel made earlier are out of reach.
func (s Bytes) Wipe() {
	if s.p == nil {
		return
	}
	clear(**s.p)
	**s.p = nil
}

// String implements fmt.Stringer.
func (s Bytes) String() string { return Redacted }

// GoString implements fmt.GoStringer.
func (s Bytes) GoString() string { return Redacted }

// Format implements fmt.Formatter, which every verb goes through.
func (s Bytes) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// LogValue implements slog.LogValuer.
func (s Bytes) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON, YAML and XML
// encoders use.
func (s Bytes) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON implements json.Marshaler.
func (s Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// GobEncode implements gob.GobEncoder. It fails: a gob is meant to be read back.
func (s Bytes) GobEncode() ([]byte, error) {
	return nil, fmt.Errorf("secret: refusing to encode a secret as gob")
}
