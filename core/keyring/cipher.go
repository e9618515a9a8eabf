package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// format is what one algorithm does to the ciphertext's layout.
type format struct {
	id       byte
	overhead int // nonce and tag
	build    func(key []byte) (cipher.AEAD, error)
}

// formats is read-only.
var formats = map[Algorithm]format{
	AES256GCM:         {formatAES256GCM, gcmNonceSize + tagSize, newAES256GCM},
	XChaCha20Poly1305: {formatXChaCha20Poly1305, xchachaNonceSize + tagSize, newXChaCha20Poly1305},
}

// Valid reports whether the algorithm is one of ours.
func (a Algorithm) Valid() bool {
	_, ok := formats[a]
	return ok
}

// newAES256GCM uses the variant that draws its own nonces: it is the one that
// FIPS 140 mode allows.
func newAES256GCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func newXChaCha20Poly1305(key []byte) (cipher.AEAD, error) {
	if fips140.Enabled() {
		return nil, fmt.Errorf("%w: %s", ErrFIPS, XChaCha20Poly1305)
	}
	return chacha20poly1305.NewX(key)
}

// Cipher encrypts and decrypts under one key version. It is safe for concurrent
// use and holds no lock.
type Cipher struct {
	aead   cipher.AEAD
	format format
	nonce  int // bytes of nonce that the AEAD expects beside the ciphertext
	number uint32
	// What each ciphertext starts with.
	header string
	binary [binaryHeader]byte
}

// NewCipher derives the cipher of a version from its root, which the caller wipes.
func NewCipher(root Root, b Binding, keyName string) (*Cipher, error) {
	f, ok := formats[b.Algorithm]
	if !ok {
		return nil, fmt.Errorf("keyring: version %d has the unknown algorithm %q", b.Version, b.Algorithm)
	}
	key, err := root.derive(b, purposeCipher, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	aead, err := f.build(key)
	if err != nil {
		return nil, err
	}
	return &Cipher{
		aead: aead, format: f, nonce: aead.NonceSize(), number: b.Version,
		header: tokenHeader(keyName, b.Version),
		binary: [binaryHeader]byte(appendBinaryHeader(nil, f.id, b.Key, b.Version)),
	}, nil
}

// Version is the number of the version that the cipher belongs to.
func (c *Cipher) Version() uint32 { return c.number }

// AppendBinary encrypts plaintext and appends the binary ciphertext to dst, whose
// spare capacity must not overlap plaintext or aad.
func (c *Cipher) AppendBinary(dst, plaintext, aad []byte) ([]byte, error) {
	if err := CheckSize(len(plaintext)); err != nil {
		return dst, err
	}
	dst = growBy(dst, binaryHeader+len(plaintext)+c.format.overhead)
	dst = append(dst, c.binary[:]...)
	return c.seal(dst, plaintext, aad), nil
}

// AppendText encrypts plaintext and appends the token to dst, whose spare
// capacity must not overlap plaintext or aad.
func (c *Cipher) AppendText(dst, plaintext, aad []byte) ([]byte, error) {
	if err := CheckSize(len(plaintext)); err != nil {
		return dst, err
	}
	raw := 1 + len(plaintext) + c.format.overhead
	size := base64.RawURLEncoding.EncodedLen(raw)
	dst = growBy(dst, len(c.header)+size)
	dst = append(dst, c.header...)
	// The payload is sealed at the very end of the token's own room and encoded
	// from there to its front: no second buffer.
	out := dst[len(dst) : len(dst)+size]
	sealed := append(out[size-raw:size-raw], c.format.id)
	sealed = c.seal(sealed, plaintext, aad)
	encodeForward(out, sealed)
	return dst[:len(dst)+size], nil
}

// encodeForward encodes src, which lies at the end of dst, into the whole of dst.
// Writing catches up with reading only at the end, but an encoder may load and
// store in any order within one call, so each piece is copied aside first.
func encodeForward(dst, src []byte) {
	var piece [3 * 256]byte // a multiple of 3, so pieces join without padding
	for len(src) > 0 {
		n := copy(piece[:], src)
		src = src[n:]
		base64.RawURLEncoding.Encode(dst, piece[:n])
		dst = dst[base64.RawURLEncoding.EncodedLen(n):]
	}
}

// OpenBinary decrypts and appends the plaintext to dst, which must not overlap
// the ciphertext. Errors are ErrMalformed and ErrAuthentication.
func (c *Cipher) OpenBinary(dst []byte, ciphertext Binary, aad []byte) ([]byte, error) {
	if ciphertext.format() != c.format.id {
		return dst, fmt.Errorf("%w: format %d in a version of format %d", ErrMalformed, ciphertext.format(), c.format.id)
	}
	body := ciphertext.body()
	dst = growBy(dst, len(body)-c.format.overhead)
	nonce, sealed := c.split(body)
	out, err := c.aead.Open(dst, nonce, sealed, aad)
	if err != nil {
		return dst, ErrAuthentication
	}
	return out, nil
}

// OpenText decrypts and appends the plaintext to dst, which must not overlap the
// token. Errors are ErrMalformed and ErrAuthentication.
func (c *Cipher) OpenText(dst []byte, token Token, aad []byte) ([]byte, error) {
	decoded, err := appendDecoded(dst, token.Payload)
	if err != nil {
		return dst, err
	}
	raw := decoded[len(dst):]
	if raw[0] != c.format.id {
		return dst, fmt.Errorf("%w: format %d in a version of format %d", ErrMalformed, raw[0], c.format.id)
	}
	nonce, sealed := c.split(raw[1:])
	plaintext, err := c.aead.Open(sealed[:0], nonce, sealed, aad)
	if err != nil {
		return dst, ErrAuthentication
	}
	n := copy(raw, plaintext)
	clear(raw[n:]) // the end of the plaintext still stood there
	return decoded[:len(dst)+n], nil
}

// seal appends nonce ‖ ciphertext ‖ tag; dst has the room. AES-GCM draws its nonce
// itself and shows a nonce size of zero. Nonces are never drawn ahead: a cloned or
// restored machine would repeat them.
func (c *Cipher) seal(dst, plaintext, aad []byte) []byte {
	nonce := dst[len(dst) : len(dst)+c.nonce]
	if c.nonce > 0 {
		_, _ = rand.Read(nonce) // never fails: it ends the process instead
	}
	return c.aead.Seal(dst[:len(dst)+c.nonce], nonce, plaintext, aad)
}

// split takes off the nonce that the AEAD expects beside the ciphertext, if any.
func (c *Cipher) split(body []byte) (nonce, sealed []byte) {
	return body[:c.nonce], body[c.nonce:]
}

// MaxUses is the most uses of one version: the limit for AES-GCM with random
// nonces (NIST SP 800-38D, 8.3), kept for every algorithm.
const MaxUses = 1 << 32

// Uses is what one encryption of n bytes costs: one for each started MiB.
func Uses(n int) uint64 {
	if n == 0 {
		return 1
	}
	return uint64((n + 1<<20 - 1) >> 20)
}

// CheckSize says whether a value of n bytes can be encrypted. ErrTooLarge if not.
func CheckSize(n int) error {
	if n > MaxPlaintext {
		return fmt.Errorf("%w: %d bytes, at most %d: encrypt it in parts", ErrTooLarge, n, MaxPlaintext)
	}
	return nil
}

// growBy makes room for n more bytes. An empty dst gets exactly that, not a size
// rounded up: such results are kept, not appended to.
func growBy(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	if len(dst) == 0 {
		return make([]byte, 0, n)
	}
	return slices.Grow(dst, n)
}
