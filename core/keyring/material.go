package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

// Form is how a root that was made elsewhere is written down.
type Form string

// The forms. FormAuto tells the others apart by their lengths.
const (
	FormAuto   Form = "auto"
	FormRaw    Form = "raw"
	FormHex    Form = "hex"
	FormBase64 Form = "base64"
)

// Forms lists them.
func Forms() []Form { return []Form{FormAuto, FormRaw, FormHex, FormBase64} }

// ParseRoot reads a root: RootSize bytes, 64 hex digits, or the base64 of either
// alphabet, with or without padding. One line break at the end of a text is left
// out. b stays the caller's to wipe. Errors are ErrMaterial and show nothing of b.
//
// FormAuto refuses RootSize bytes that can all be printed, but for a line break: no
// generator draws them, so they are a shorter key in hex or base64, or a passphrase.
func ParseRoot(f Form, b []byte) (Root, error) {
	text := TrimLine(b)
	switch {
	case f == FormRaw:
		return rawRoot(b)
	case f == FormHex:
		return hexRoot(text)
	case f == FormBase64:
		return base64Root(text)
	case f != FormAuto:
		return Root{}, fmt.Errorf("%w: unknown form %q", ErrMaterial, f)
	case printable(text) && (len(b) == RootSize || len(text) == RootSize):
		return Root{}, fmt.Errorf("%w: %d printable characters: if they are a shorter key in hex or base64, it is too short; "+
			"if they are a passphrase, import them as one; if they are the key itself, name the form raw", ErrMaterial, RootSize)
	case len(b) == RootSize:
		return rawRoot(b)
	case len(text) == hex.EncodedLen(RootSize):
		return hexRoot(text)
	case len(text) == base64.RawStdEncoding.EncodedLen(RootSize), len(text) == base64.StdEncoding.EncodedLen(RootSize):
		return base64Root(text)
	}
	return Root{}, fmt.Errorf("%w: it has %d bytes; a key is %d bytes, 64 hex digits, or 43 or 44 characters of base64", ErrMaterial, len(b), RootSize)
}

func rawRoot(b []byte) (Root, error) {
	if len(b) != RootSize {
		return Root{}, fmt.Errorf("%w: it has %d bytes; a raw key has exactly %d, and no line break after them", ErrMaterial, len(b), RootSize)
	}
	return NewRoot(bytes.Clone(b))
}

func hexRoot(text []byte) (Root, error) {
	// The decoder's own errors show what it stumbled over.
	wrong := fmt.Errorf("%w: a key in hex has exactly 64 digits of 0-9, a-f and A-F, on one line", ErrMaterial)
	if len(text) != hex.EncodedLen(RootSize) {
		return Root{}, wrong
	}
	root := make([]byte, RootSize)
	if _, err := hex.Decode(root, text); err != nil {
		clear(root)
		return Root{}, wrong
	}
	return NewRoot(root)
}

func base64Root(text []byte) (Root, error) {
	encoding := base64.StdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.URLEncoding
	}
	if !bytes.HasSuffix(text, []byte("=")) {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	root := make([]byte, encoding.DecodedLen(len(text)))
	n, err := encoding.Strict().Decode(root, text)
	// The decoder passes over line breaks, wherever they are.
	if err != nil || n != RootSize || len(text) != encoding.EncodedLen(RootSize) {
		clear(root)
		return Root{}, fmt.Errorf("%w: a key in base64 has 43 characters, or 44 with the = at the end, on one line and of one alphabet", ErrMaterial)
	}
	return NewRoot(root[:n:n])
}

// TrimLine takes one line break (LF or CRLF) from the end of a text, which editors
// and echo add and nobody means.
func TrimLine(text []byte) []byte {
	line, ok := bytes.CutSuffix(text, []byte("\n"))
	if !ok {
		return text
	}
	return bytes.TrimSuffix(line, []byte("\r"))
}

func printable(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' })
}

// minDistinct is the least number of different bytes in a root. Of 32 random ones
// about 30 differ; fewer than 8 do in less than one of 10^30 roots.
const minDistinct = 8

// Check refuses a root that no generator draws: one byte over and over, a pattern
// that repeats, a shorter key that was doubled. What is guessable in any other way
// it cannot tell. The error is ErrWeak.
func (r Root) Check() error {
	b := r.Reveal()
	var seen [256]bool
	distinct := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	half := len(b) / 2
	if distinct < minDistinct || bytes.Equal(b[:half], b[half:]) {
		return fmt.Errorf("%w: its bytes repeat themselves; draw %d bytes from a random number generator, e.g. openssl rand %d", ErrWeak, RootSize, RootSize)
	}
	return nil
}

// CheckNew refuses a root that one of the key's versions has, destroyed ones
// included: a rotation is to end the use of what was there. The error is ErrWeak.
func (r *Record) CheckNew(store StoreID, root Root) error {
	for i := range r.Versions {
		v := &r.Versions[i]
		b := Binding{Store: store, Key: r.ID, Version: v.Number, Algorithm: v.Algorithm}
		err := root.Verify(b, v.KCV)
		if err == nil {
			return fmt.Errorf("%w: it is that of version %d of key %q; a new version needs a new one", ErrWeak, v.Number, r.Name)
		}
		if !errors.Is(err, ErrIntegrity) {
			return err
		}
	}
	return nil
}
