package secret

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// state is what the copies of a Value share.
//
// A rotation walks over very many of them, and waits for memory more than for ciphers.
// So a state has at most 128 bytes, two lines of a cache, and is one pointer away.
type state struct {
	// writing is held by whoever replaces content, from before it is read. mu is held
	// while content is copied or exchanged, and never while anything is waited for: a
	// key manager that hangs must not hold up who reads the value.
	writing, mu sync.Mutex
	// content is the plaintext for Mask, else a ciphertext of either form; nil if the
	// value was wiped.
	content  []byte
	aad      []byte // the name
	key      string
	cipher   Cipher
	handling Handling
}

func newState(name string, h Handling, content []byte) *state {
	return &state{aad: []byte(name), handling: h, content: content}
}

// hidden is a pointer to a state, or to none, by which reflection does not get there:
// fmt goes on from pointers, and the printers of test frameworks from all of them, through
// fields that are not exported and past every method that redacts.
type hidden struct{ p unsafe.Pointer }

func hide(s *state) hidden { return hidden{unsafe.Pointer(s)} } //nolint:gosec // state alone undoes it

func (h hidden) state() *state { return (*state)(h.p) }

func (s *state) name() string { return string(s.aad) }

// hold takes ownership of plaintext.
func hold(ctx context.Context, c Cipher, plaintext []byte, o Options) (*state, error) {
	s := newState(o.Name, o.Handling, plaintext)
	if o.Handling == Mask {
		return s, nil
	}
	defer clear(plaintext)
	if c == nil || o.Key == "" {
		return nil, named(o.Name, errors.New("it is to be encrypted, which takes a cipher and the name of a key"))
	}
	sealed, err := c.AppendEncryptBinary(ctx, nil, o.Key, plaintext, s.aad)
	if err != nil {
		return nil, named(o.Name, err)
	}
	s.cipher, s.key, s.content = c, o.Key, sealed
	return s, nil
}

func holdToken(ctx context.Context, c Cipher, token []byte, o Options) (*state, error) {
	if c == nil {
		return nil, named(o.Name, errors.New("a token takes a cipher"))
	}
	if isToken(token) { // the binary form may end with any byte
		token = chomp(token)
	}
	key, _, err := c.Identify(ctx, token)
	if err != nil {
		return nil, named(o.Name, err)
	}
	if o.Key != "" && o.Key != key {
		return nil, named(o.Name, fmt.Errorf("the token is of key %q, and key %q is meant", key, o.Key))
	}
	s := newState(o.Name, o.Handling, bytes.Clone(token))
	s.key, s.cipher = key, c
	if o.Handling != Mask {
		return s, nil
	}
	plaintext, err := c.AppendDecrypt(ctx, nil, token, s.aad)
	if err != nil {
		return nil, named(o.Name, unbound(err, o.Name))
	}
	s.key, s.cipher, s.content = "", nil, own(plaintext)
	return s, nil
}

// own is b, never nil: nil is a value that was wiped.
func own(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// unbound adds what is wrong most often when a ciphertext does not open.
func unbound(err error, name string) error {
	return fmt.Errorf("%w (it is opened with its name as AAD: %s)", err, name)
}

// copied answers a copy of the content.
func (s *state) copied() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content == nil {
		return nil, ErrEmpty
	}
	return bytes.Clone(s.content), nil
}

// open answers the plaintext in a buffer of its own.
func (s *state) open(ctx context.Context) ([]byte, error) {
	content, err := s.copied()
	if err != nil || s.handling == Mask {
		return content, err
	}
	plaintext, err := s.cipher.AppendDecrypt(ctx, nil, content, s.aad)
	if err != nil {
		return nil, unbound(err, s.name())
	}
	return own(plaintext), nil
}

func (s *state) accessed() error {
	if s.handling != Sealed {
		return nil
	}
	return s.cipher.Accessed(s.key, s.name())
}

func (s *state) token(ctx context.Context) ([]byte, error) {
	if s.handling == Mask {
		return nil, errors.New("it has no ciphertext: its handling is mask")
	}
	content, err := s.copied()
	if err != nil {
		return nil, err
	}
	return s.cipher.Text(ctx, content)
}

func (s *state) wipe() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.content)
	s.content = nil
}

// names is for a state that may be nil.
func (s *state) names() Options {
	if s == nil {
		return Options{}
	}
	return Options{Name: s.name(), Key: s.key, Handling: s.handling}
}

func equal(ctx context.Context, a, b *state) (bool, error) {
	x, err := a.open(ctx)
	if err != nil {
		return false, named(a.name(), err)
	}
	defer clear(x)
	y, err := b.open(ctx)
	if err != nil {
		return false, named(b.name(), err)
	}
	defer clear(y)
	for _, s := range []*state{a, b} {
		if err := s.accessed(); err != nil {
			return false, named(s.name(), err)
		}
	}
	return subtle.ConstantTimeCompare(x, y) == 1, nil
}

// fetch reads of the content. The caller holds writing.
func (s *state) fetch() (seen byte) {
	if n := len(s.content); n > 0 {
		seen = s.content[0]
	}
	return seen
}

// renew brings the value to the primary version of its key, by way of c. The new
// ciphertext is written into spare where that fits; the buffer that is free afterwards
// comes back. Whatever fails leaves the value as it was. r, which is empty, gets what
// became of it. The caller holds writing.
func (s *state) renew(ctx context.Context, c Cipher, pins map[string]uint32, spare []byte, r *result) []byte {
	if s.handling == Mask {
		return spare
	}
	if s.content == nil { // which is only written under both locks
		r.err = named(s.name(), ErrEmpty)
		return spare
	}
	pin, pinned := pins[s.key]
	if pinned { // a value that is there already is not to be moved
		if _, version, err := c.Identify(ctx, s.content); err == nil && version == pin {
			r.from, r.to = version, version
			return spare
		}
	}
	dst := spare
	if cap(spare) > 2*len(s.content)+64 { // a small value must not keep a large buffer
		dst = nil
	}
	next, from, to, err := c.Renew(ctx, dst[:0], s.content, s.aad)
	r.from, r.to = from, from
	if err == nil && pinned && to != pin {
		err = fmt.Errorf("%w: key %q has version %d as its primary, and version %d is asked for", ErrPinned, s.key, to, pin)
	}
	switch {
	case err != nil:
		r.err = named(s.name(), err)
		return spare
	case from == to:
		return spare
	}
	r.to = to
	return s.exchange(next)
}

// exchange puts another ciphertext in place, and answers the buffer of the former one.
func (s *state) exchange(next []byte) []byte {
	s.mu.Lock()
	former := s.content
	s.content = next
	s.mu.Unlock()
	return former[:0]
}
