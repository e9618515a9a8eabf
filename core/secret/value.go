package secret

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Handling says how a [Value] is held.
type Handling string

// The ways of handling, from the least to the most careful.
const (
	// Mask holds the secret as it is. It only never prints.
	Mask Handling = "mask"
	// Encrypt holds a ciphertext, and decrypts it at each access.
	Encrypt Handling = "encrypt"
	// Sealed holds a ciphertext that is open only inside [Value.Use], whose buffer is
	// wiped afterwards. Each access is recorded in the history of the key.
	Sealed Handling = "sealed"
)

// Handlings lists the closed set.
func Handlings() []Handling { return []Handling{Mask, Encrypt, Sealed} }

// Valid reports whether h is one of them.
func (h Handling) Valid() bool { return slices.Contains(Handlings(), h) }

var (
	// ErrEmpty: the value was never set, or it was wiped.
	ErrEmpty = errors.New("holds nothing")
	// ErrSealed: a sealed value was asked for its secret outside Use.
	ErrSealed = errors.New("is sealed")
	// ErrName: not a name for a value.
	ErrName = errors.New("not a name for a secret value")
	// ErrEncoding: the type has no encoding from which it comes back as it was.
	ErrEncoding = errors.New("has no encoding")
)

// Cipher is what values need of the keys. *engine.Engine and *core.Keyrotor are one.
// All methods are called from several goroutines.
type Cipher interface {
	// AppendEncryptBinary encrypts under the key's primary version.
	AppendEncryptBinary(ctx context.Context, dst []byte, key string, plaintext, aad []byte) ([]byte, error)
	// AppendDecrypt opens a ciphertext of either form.
	AppendDecrypt(ctx context.Context, dst, ciphertext, aad []byte) ([]byte, error)
	// Renew appends the same value under the primary version, in the form that it was
	// given in. from and to are equal if it is there already, or if that fails, and zero if
	// the version is not known.
	Renew(ctx context.Context, dst, ciphertext, aad []byte) (out []byte, from, to uint32, err error)
	// Identify answers which version of which key a ciphertext is under.
	Identify(ctx context.Context, ciphertext []byte) (key string, version uint32, err error)
	// Text answers a ciphertext of either form as a token.
	Text(ctx context.Context, ciphertext []byte) ([]byte, error)
	// Accessed hears of each access to a sealed value before that is shown, which an error
	// prevents. It returns at once.
	Accessed(key, name string) error
}

// Options say what a value is called and how it is held.
type Options struct {
	// Name is what errors, reports and the history call the value, and what its
	// ciphertext is bound to as AAD: that of another name does not open. At most
	// MaxName bytes of letters, digits and ._-/:@+
	Name string
	// Key is the name of the key to encrypt under. Mask needs none.
	Key string
	// Handling is Encrypt if it is empty.
	Handling Handling
}

// MaxName is the longest name of a value in bytes.
const MaxName = 128

// check says whether the options are possible, and fills in defaults.
func (o *Options) check() error {
	if err := checkName(o.Name); err != nil {
		return err
	}
	if o.Handling == "" {
		o.Handling = Encrypt
	}
	if !o.Handling.Valid() {
		return fmt.Errorf("secret value %q: there is no handling %q: use one of %q", o.Name, o.Handling, Handlings())
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: it has %d bytes: use 1 to %d", ErrName, len(name), MaxName)
	}
	for i, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == '/', c == ':', c == '@', c == '+':
		default:
			return fmt.Errorf("%w: %.40q has %q at byte %d: use letters, digits and ._-/:@+", ErrName, name, c, i)
		}
	}
	return nil
}

// Value is a secret of type T. It is made by [NewValue], [FromToken] or [Load]; the zero
// value answers ErrEmpty to everything. It is safe for concurrent use, and copies of a
// Value are the same secret: what is rotated or wiped is so for all of them.
//
// T is a string, a slice of bytes, or a type of one of these kinds; any other type is
// held as its JSON, provided that it comes back from it as it was.
//
// Whatever a program prints or marshals a Value with, it shows [Redacted] and nothing of
// the secret, its ciphertext or its key; as a gob it is refused. Printers that go by
// reflection and pass over methods, as test frameworks do, show an address. None of that
// can be read back: what is to be stored is asked for by name, with [Value.Ciphertext].
//
// A Value cannot be compared by ==, which would tell copies from equals, as
// reflect.DeepEqual does; see [Value.Equal].
type Value[T any] struct {
	redacted
	_ [0]func(T) // makes == a compile error, and conversion to another T, too
	s hidden
}

func wrap[T any](s *state) Value[T] { return Value[T]{s: hide(s)} }

// NewValue holds v as a secret value. v itself is the caller's: whatever can be wiped of it is
// theirs to wipe. c may be nil for Mask.
//
// Errors: ErrName, ErrEncoding, those of c.
func NewValue[T any](ctx context.Context, c Cipher, v T, o Options) (Value[T], error) {
	if err := o.check(); err != nil {
		return Value[T]{}, err
	}
	plaintext, err := encode(v)
	if err != nil {
		return Value[T]{}, named(o.Name, err)
	}
	s, err := hold(ctx, c, plaintext, o)
	if err != nil {
		return Value[T]{}, err
	}
	return wrap[T](s), nil
}

// FromToken makes a value of a token, without opening it: what `keyrotor encrypt
// KEY --aad NAME` prints, line break included, or [Value.Ciphertext] answered. o.Key may be
// empty; if it is not, the token must be that key's. Only Mask opens it here, since it is
// to hold the secret itself.
func FromToken[T any](ctx context.Context, c Cipher, token []byte, o Options) (Value[T], error) {
	if err := o.check(); err != nil {
		return Value[T]{}, err
	}
	s, err := holdToken(ctx, c, token, o)
	if err != nil {
		return Value[T]{}, err
	}
	if s.handling == Mask {
		if _, err := view[T](s.content); err != nil {
			return Value[T]{}, named(o.Name, err)
		}
	}
	return wrap[T](s), nil
}

// Get answers the secret. ErrSealed if it is sealed: [Value.Use] opens that.
func (v Value[T]) Get(ctx context.Context) (T, error) {
	var zero T
	s := v.held()
	if s == nil {
		return zero, ErrEmpty
	}
	if s.handling == Sealed {
		return zero, named(s.name(), fmt.Errorf("%w: it is open inside Use only", ErrSealed))
	}
	plaintext, err := s.open(ctx)
	if err != nil {
		return zero, named(s.name(), err)
	}
	out, err := decode[T](plaintext)
	if kindOf[T]() != octets { // which are the buffer itself
		clear(plaintext)
	}
	if err != nil {
		return zero, named(s.name(), err)
	}
	return out, nil
}

// Use calls f with the secret, and answers what f answers. The buffer that holds it is
// wiped when f returns, or panics: a string or a slice of bytes must not be kept, since
// it becomes zeros; strings.Clone and bytes.Clone take a copy, which is then nobody's to
// wipe. Of any other T only the encoding is wiped.
//
// An access to a sealed value is counted before f is called, and reaches the history
// within a minute, or when the engine is closed. If that happened since the value was
// opened, f is not called and the error is engine.ErrClosed: what nobody would record is
// not shown.
func (v Value[T]) Use(ctx context.Context, f func(T) error) error {
	s := v.held()
	if s == nil {
		return ErrEmpty
	}
	plaintext, err := s.open(ctx)
	if err != nil {
		return named(s.name(), err)
	}
	defer clear(plaintext)
	secret, err := view[T](plaintext)
	if err != nil {
		return named(s.name(), err)
	}
	if err := s.accessed(); err != nil {
		return named(s.name(), err)
	}
	return f(secret)
}

// Equal reports whether two values are the same secret, in time that depends on their
// lengths only. It is an access to both.
func (v Value[T]) Equal(ctx context.Context, other Value[T]) (bool, error) {
	a, b := v.held(), other.held()
	if a == nil || b == nil {
		return false, ErrEmpty
	}
	return equal(ctx, a, b)
}

// Ciphertext answers the token of a value that is encrypted or sealed. It is no secret,
// and opens only under the value's name; [FromToken] makes a value of it again.
func (v Value[T]) Ciphertext(ctx context.Context) ([]byte, error) {
	s := v.held()
	if s == nil {
		return nil, ErrEmpty
	}
	token, err := s.token(ctx)
	if err != nil {
		return nil, named(s.name(), err)
	}
	return token, nil
}

// Wipe empties the value and its copies. It waits for a rotation of the value, or of the
// few that a worker has in hand together with it, that is under way.
func (v Value[T]) Wipe() {
	if s := v.held(); s != nil {
		s.wipe()
	}
}

// Name is what the value is called; empty if it holds nothing.
func (v Value[T]) Name() string { return v.held().names().Name }

// Key is the key that the value is encrypted under; empty for Mask.
func (v Value[T]) Key() string { return v.held().names().Key }

// Handling is how the value is held.
func (v Value[T]) Handling() Handling { return v.held().names().Handling }

func (v Value[T]) held() *state { return v.s.state() }

// named says which value failed.
func named(name string, err error) error {
	return fmt.Errorf("secret value %q: %w", name, err)
}
