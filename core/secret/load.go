package secret

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxSource is the largest secret that Load reads.
const maxSource = 1 << 20

// tokenPrefix begins a token; keyring.TokenPrefix is the same.
const tokenPrefix = "keyrotor:"

func isToken(b []byte) bool { return bytes.HasPrefix(b, []byte(tokenPrefix)) }

// LoadOptions hold what tags leave open. The zero value is ready.
type LoadOptions struct {
	// Key is what values are encrypted under whose tag names no key.
	Key string
	// Handling is for values whose tag names none; Encrypt if it is empty.
	Handling Handling
	// Unset removes the variables that were read from the environment of this process,
	// once everything is loaded: child processes would inherit them.
	Unset bool
}

// FieldError says why Load could not fill a field. It never holds a value.
type FieldError struct {
	// Field is the path to the field, as in "Database.Password".
	Field string
	// Source is where its value was to come from, as in "env DB_PASSWORD"; empty if the
	// field itself is wrong.
	Source string
	Err    error
}

func (e *FieldError) Error() string {
	if e.Source == "" {
		return fmt.Sprintf("field %s: %v", e.Field, e.Err)
	}
	return fmt.Sprintf("field %s: %s: %v", e.Field, e.Source, e.Err)
}

func (e *FieldError) Unwrap() error { return e.Err }

// Load fills the secret values of a struct from the environment and from files, as their
// tags say:
//
//	type Settings struct {
//		Database struct {
//			Password secret.Value[string] `keyrotor:"env=DB_PASSWORD,handling=sealed,key=payments"`
//		}
//		TLSKey secret.Value[[]byte] `keyrotor:"file=/run/secrets/tls.key"`
//		Limits secret.Value[Limits] `keyrotor:"env=LIMITS,optional"`
//		Cache  secret.Value[string] `keyrotor:"-"` // somebody else sets it
//	}
//
// The options of a tag, with commas between them:
//
//   - env=NAME or file=PATH: the source. Of a file, one line break at its end is left out.
//   - handling=mask, encrypt or sealed, and key=NAME; LoadOptions has the defaults.
//   - name=NAME: what the value is called; else the variable's name, or the file's
//     without its folder. No two values of a struct have one name.
//   - optional: the field stays as it is if its source is not there, or empty.
//   - prefix=TEXT, on a nested struct: stands before what env says in it.
//
// A value that begins with "keyrotor:" is a token and taken as the ciphertext that it
// is; `keyrotor encrypt KEY --aad NAME` makes one. It is opened once, to see that it can
// be. Nested structs, pointers to structs included, are filled too; fields of other types
// are left alone.
//
// Load fills all fields or none. Its error joins a *FieldError for each thing that is
// wrong. The values that it answers are those that it set, for [Rotate].
func Load(ctx context.Context, c Cipher, into any, o LoadOptions) ([]Rotatable, error) {
	if o.Handling != "" && !o.Handling.Valid() {
		return nil, fmt.Errorf("secret: load: there is no handling %q: use one of %q", o.Handling, Handlings())
	}
	p, err := plan(into)
	if err != nil {
		return nil, err
	}
	l := loader{LoadOptions: o, cipher: c}
	var errs []error
	for i := range p.fields {
		f := &p.fields[i]
		if err := l.read(ctx, f); err != nil {
			errs = append(errs, &FieldError{f.path, f.tag.source(), err})
		}
	}
	if err := errors.Join(errs...); err != nil {
		p.wipe()
		return nil, err
	}
	return p.commit(), l.unset(p.fields)
}

type loader struct {
	LoadOptions
	cipher Cipher
}

// unset removes what was read from the environment, if that is asked for.
func (l loader) unset(fields []field) error {
	var errs []error
	for i := range fields {
		if env := fields[i].tag.env; l.Unset && env != "" {
			errs = append(errs, os.Unsetenv(env))
		}
	}
	return errors.Join(errs...)
}

// read makes the value of a field, unless it is optional and not there.
func (l loader) read(ctx context.Context, f *field) error {
	content, err := f.tag.content()
	if err == nil && len(content) == 0 {
		err = missingError{"is empty"}
	}
	if missing := (missingError{}); errors.As(err, &missing) && f.tag.optional {
		return nil
	}
	if err != nil {
		return err
	}
	options := Options{
		Name: f.name(), Key: cmp.Or(f.tag.key, l.Key), Handling: cmp.Or(f.tag.handling, l.Handling),
	}
	if err := options.check(); err != nil {
		clear(content)
		return err
	}
	if isToken(content) {
		options.Key = f.tag.key // the default is for what is to be encrypted
		f.held, err = l.token(ctx, f, content, options)
		return err
	}
	if err := f.value.fits(content); err != nil {
		clear(content)
		return err
	}
	f.held, err = hold(ctx, l.cipher, content, options)
	return unnamed(err)
}

// token makes a value of a ciphertext, and opens it to see whether it is what the field
// is for.
func (l loader) token(ctx context.Context, f *field, token []byte, o Options) (*state, error) {
	s, err := holdToken(ctx, l.cipher, token, o)
	if err != nil {
		return nil, unnamed(err)
	}
	plaintext, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	return s, f.value.fits(plaintext)
}

// unnamed takes off the name that the field says better.
func unnamed(err error) error { return errors.Unwrap(err) }

// missingError: a source is not there, or has nothing in it.
type missingError struct{ what string }

func (e missingError) Error() string { return e.what }

// content reads the source into a buffer of its own.
func (t *tag) content() ([]byte, error) {
	if t.env != "" {
		value, ok := os.LookupEnv(t.env)
		if !ok {
			return nil, missingError{"is not set"}
		}
		return []byte(value), nil
	}
	file, err := os.Open(t.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, missingError{"does not exist"}
	}
	if err != nil {
		return nil, pathless(err)
	}
	defer file.Close()
	// All at once: a buffer that grows leaves copies behind.
	buf := make([]byte, maxSource+1)
	defer clear(buf)
	switch n, err := io.ReadFull(file, buf); {
	case err == nil:
		return nil, fmt.Errorf("has more than %d bytes: that is no setting", maxSource)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return bytes.Clone(chomp(buf[:n])), nil
	default:
		return nil, pathless(err)
	}
}

// pathless is an error without the path that the source says already.
func pathless(err error) error {
	if at := (*os.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}

// chomp leaves out one line break at the end, which editors and echo put there.
func chomp(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return b
}

func (t *tag) source() string {
	switch {
	case t.env != "":
		return "env " + t.env
	case t.file != "":
		return "file " + t.file
	default:
		return ""
	}
}

// defaultName is what a value is called whose tag does not say.
func (t *tag) defaultName() string {
	if t.env != "" {
		return t.env
	}
	return filepath.Base(t.file)
}
