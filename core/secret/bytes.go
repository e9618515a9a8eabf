// Package secret holds the types that carry secrets, those of Keyrotor itself and
// those of a service, so that a root, a passphrase or a credential cannot reach a log,
// an error or an event by being printed: every way that Go has of formatting a value
// answers a fixed text instead.
//
// [Bytes] is a byte string that is wiped when done. [Value] is a secret of a service, of
// any type, with a name, that is plain in memory, encrypted there, or open only while
// it is used. [Load] fills a struct of them from the environment and from files, and
// [Rotate] brings many of them to the newest version of their key.
//
// The package is a leaf: the contract that providers implement (core/provider) and the
// cipher (core/keyring) both need such a type and neither may import the other. So it
// knows keys through [Cipher] only, which *engine.Engine and *core.Keyrotor are.
package secret

import "crypto/subtle"

// Bytes is a secret byte string. The zero value is empty. Copies of a Bytes share
// one buffer, so Wipe empties them all.
//
// The buffer sits behind two pointers because fmt walks into unexported fields,
// where it cannot call our methods. It follows one pointer, for %+v at the top and
// for a verb that does not fit; of a pointer to a pointer it prints the address.
type Bytes struct {
	redacted
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
