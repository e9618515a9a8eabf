package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
)

// MaxPlaintext is the largest value that can be encrypted, in bytes.
const MaxPlaintext = 64 << 20

// TokenPrefix starts every text ciphertext.
const TokenPrefix = "keyrotor:"

// The format byte names the AEAD, so that a ciphertext's lengths can be checked
// without its key.
const (
	formatAES256GCM         = 0x01
	formatXChaCha20Poly1305 = 0x02
)

const (
	gcmNonceSize     = 12
	xchachaNonceSize = 24
	tagSize          = 16
)

// MaxTokenLen is the length of the longest text ciphertext.
const MaxTokenLen = len(TokenPrefix) + MaxNameLen + len(":v4294967295:") +
	((1+xchachaNonceSize+MaxPlaintext+tagSize)*8+5)/6

// binaryMagic starts every binary ciphertext. Its first two bytes are not UTF-8, so
// that no program takes the form for text.
const binaryMagic = "\xd3KR"

// binaryHeader is the length of magic ‖ format ‖ key id prefix ‖ version.
const binaryHeader = len(binaryMagic) + 1 + 8 + 4

// Token is a parsed text ciphertext, `keyrotor:<key>:v<N>:<payload>`. Its slices
// point into the text that was parsed.
type Token struct {
	Key     []byte
	Version uint32
	// Payload is base64url without padding of format ‖ nonce ‖ ciphertext ‖ tag.
	Payload []byte
}

// ParseToken takes a text ciphertext apart. It checks everything that can be
// checked without decoding the payload as a whole; errors are ErrMalformed.
func ParseToken(b []byte) (Token, error) {
	if len(b) < len(TokenPrefix) || string(b[:len(TokenPrefix)]) != TokenPrefix {
		return Token{}, fmt.Errorf("%w: does not start with %q", ErrMalformed, TokenPrefix)
	}
	name, rest, ok := bytes.Cut(b[len(TokenPrefix):], []byte{':'})
	if !ok || !isName(name) {
		return Token{}, fmt.Errorf("%w: no key name after %q", ErrMalformed, TokenPrefix)
	}
	label, payload, ok := bytes.Cut(rest, []byte{':'})
	if !ok {
		return Token{}, fmt.Errorf("%w: no payload", ErrMalformed)
	}
	version, err := parseLabel(label)
	if err != nil {
		return Token{}, err
	}
	if err := checkPayload(payload); err != nil {
		return Token{}, err
	}
	return Token{Key: name, Version: version, Payload: payload}, nil
}

// parseLabel reads "v" and a canonical decimal from 1 to 2^32-1.
func parseLabel(label []byte) (uint32, error) {
	if len(label) < 2 || len(label) > len("v4294967295") || label[0] != 'v' || label[1] == '0' {
		return 0, fmt.Errorf("%w: no version after the key name", ErrMalformed)
	}
	var n uint64
	for _, c := range label[1:] {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%w: the version is no number", ErrMalformed)
		}
		n = n*10 + uint64(c-'0')
	}
	if n > 1<<32-1 {
		return 0, fmt.Errorf("%w: the version is too large", ErrMalformed)
	}
	return uint32(n), nil
}

// checkPayload checks the format byte and the length.
func checkPayload(payload []byte) error {
	var head [3]byte
	if len(payload) < 4 {
		return fmt.Errorf("%w: truncated", ErrMalformed)
	}
	if _, err := base64.RawURLEncoding.Decode(head[:], payload[:4]); err != nil {
		return fmt.Errorf("%w: the payload is not base64url", ErrMalformed)
	}
	if len(payload)%4 == 1 {
		return fmt.Errorf("%w: the payload has an impossible length", ErrMalformed)
	}
	return checkRaw(head[0], base64.RawURLEncoding.DecodedLen(len(payload)))
}

// checkRaw checks the length of format ‖ nonce ‖ ciphertext ‖ tag.
func checkRaw(format byte, n int) error {
	overhead := 1 + tagSize
	switch format {
	case formatAES256GCM:
		overhead += gcmNonceSize
	case formatXChaCha20Poly1305:
		overhead += xchachaNonceSize
	default:
		return fmt.Errorf("%w: unknown format %d", ErrMalformed, format)
	}
	if n < overhead {
		return fmt.Errorf("%w: truncated", ErrMalformed)
	}
	if n > overhead+MaxPlaintext {
		return fmt.Errorf("%w: longer than any ciphertext", ErrMalformed)
	}
	return nil
}

// IsPayloadByte reports whether b is in the base64url alphabet; a token ends at
// the first byte that is not.
func IsPayloadByte(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_'
}

// isName is namePattern without its cost.
func isName(name []byte) bool {
	if len(name) == 0 || len(name) > MaxNameLen {
		return false
	}
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case (c == '.' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return true
}

// tokenHeader is everything of a token before its payload.
func tokenHeader(name string, version uint32) string {
	return TokenPrefix + name + ":v" + strconv.FormatUint(uint64(version), 10) + ":"
}

// Binary is a checked binary ciphertext:
// magic ‖ format ‖ first 8 bytes of the key id ‖ version ‖ nonce ‖ ciphertext ‖ tag.
// Its parts are read where they stand: a struct of them all would be too large for
// the compiler to keep in registers, which small values feel.
type Binary struct{ b []byte }

// KeyPrefix is what KeyID.Prefix answers for the key.
func (c Binary) KeyPrefix() uint64 { return binary.BigEndian.Uint64(c.b[len(binaryMagic)+1:]) }

// Version is the number of the key version.
func (c Binary) Version() uint32 { return binary.BigEndian.Uint32(c.b[binaryHeader-4:]) }

func (c Binary) format() byte { return c.b[len(binaryMagic)] }

func (c Binary) body() []byte { return c.b[binaryHeader:] }

// IsBinary reports whether b starts like a binary ciphertext.
func IsBinary(b []byte) bool {
	return len(b) >= len(binaryMagic) && string(b[:len(binaryMagic)]) == binaryMagic
}

// ParseBinary takes a binary ciphertext apart; errors are ErrMalformed.
func ParseBinary(b []byte) (Binary, error) {
	if !IsBinary(b) {
		return Binary{}, fmt.Errorf("%w: not a binary ciphertext", ErrMalformed)
	}
	if len(b) < binaryHeader {
		return Binary{}, fmt.Errorf("%w: truncated", ErrMalformed)
	}
	c := Binary{b}
	if c.Version() == 0 {
		return Binary{}, fmt.Errorf("%w: no version", ErrMalformed)
	}
	if err := checkRaw(c.format(), 1+len(c.body())); err != nil {
		return Binary{}, err
	}
	return c, nil
}

// appendBinaryHeader writes everything of a binary ciphertext before its nonce.
func appendBinaryHeader(dst []byte, format byte, id KeyID, version uint32) []byte {
	dst = append(dst, binaryMagic...)
	dst = append(dst, format)
	dst = append(dst, id[:8]...)
	return binary.BigEndian.AppendUint32(dst, version)
}

// TextToBinary turns a text ciphertext into the binary form, without the key: it
// needs only to know which key id the name stands for.
func TextToBinary(token []byte, id KeyID) ([]byte, error) {
	t, err := ParseToken(token)
	if err != nil {
		return nil, err
	}
	raw, err := appendDecoded(nil, t.Payload)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, binaryHeader+len(raw)-1)
	out = appendBinaryHeader(out, raw[0], id, t.Version)
	return append(out, raw[1:]...), nil
}

// BinaryToText turns a binary ciphertext into the text form, without the key.
// The caller looked the name up by the key id's prefix.
func BinaryToText(ciphertext []byte, name string) ([]byte, error) {
	p, err := ParseBinary(ciphertext)
	if err != nil {
		return nil, err
	}
	raw := append([]byte{p.format()}, p.body()...)
	return base64.RawURLEncoding.AppendEncode([]byte(tokenHeader(name, p.Version())), raw), nil
}

// strictBase64 refuses non-zero trailing bits: one ciphertext has one text.
var strictBase64 = base64.RawURLEncoding.Strict()

// appendDecoded decodes a payload strictly. Go's decoder skips CR and LF even in
// strict mode; a payload that held some decodes to fewer bytes than its length
// says (lengths of 4n+1, where that does not show, are refused before).
func appendDecoded(dst, payload []byte) ([]byte, error) {
	want := strictBase64.DecodedLen(len(payload))
	dst = growBy(dst, want)
	n, err := strictBase64.Decode(dst[len(dst):len(dst)+want], payload)
	if err != nil || n != want {
		return nil, fmt.Errorf("%w: the payload is not base64url", ErrMalformed)
	}
	return dst[:len(dst)+n], nil
}
