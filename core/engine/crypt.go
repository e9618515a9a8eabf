package engine

import (
	"bytes"
	"context"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Encrypt encrypts under the key's primary version and answers the text form,
// `keyrotor:<key>:v<N>:<payload>`. Decryption needs the same aad; nil is none.
//
// At the version's hard limit it waits for a rotation that is under way, as long as
// ctx allows. While the store cannot be reached it goes on within the uses that are
// leased.
//
// Errors: keyring.ErrUnknownKey, ErrNoPrimary (rotation.ErrRestored, where that is
// why), ErrTooLarge, ErrUsageLimit, ErrIntegrity if the stored record was tampered
// with, a provider.Error if the key manager had to be asked and failed, an error of
// package store if no more uses can be leased.
func (e *Engine) Encrypt(ctx context.Context, key string, plaintext, aad []byte) ([]byte, error) {
	return e.AppendEncrypt(ctx, nil, key, plaintext, aad)
}

// AppendEncrypt is Encrypt into the caller's buffer. The spare capacity of dst must
// not overlap plaintext or aad.
func (e *Engine) AppendEncrypt(ctx context.Context, dst []byte, key string, plaintext, aad []byte) ([]byte, error) {
	c, err := e.encrypter(ctx, key, len(plaintext))
	if err != nil {
		return dst, err
	}
	return c.AppendText(dst, plaintext, aad)
}

// EncryptBinary is Encrypt with the binary form as its answer: 16 bytes of header
// instead of a name, and no base64.
func (e *Engine) EncryptBinary(ctx context.Context, key string, plaintext, aad []byte) ([]byte, error) {
	return e.AppendEncryptBinary(ctx, nil, key, plaintext, aad)
}

// AppendEncryptBinary is EncryptBinary into the caller's buffer. The spare capacity
// of dst must not overlap plaintext or aad.
func (e *Engine) AppendEncryptBinary(ctx context.Context, dst []byte, key string, plaintext, aad []byte) ([]byte, error) {
	c, err := e.encrypter(ctx, key, len(plaintext))
	if err != nil {
		return dst, err
	}
	return c.AppendBinary(dst, plaintext, aad)
}

func (e *Engine) encrypter(ctx context.Context, name string, n int) (*keyring.Cipher, error) {
	if err := keyring.CheckSize(n); err != nil {
		return nil, err
	}
	k, err := e.key(ctx, name)
	if err != nil {
		return nil, err
	}
	return e.sealer(ctx, k, keyring.Encrypting, n)
}

// Decrypt opens a ciphertext of either form.
//
// Errors: keyring.ErrMalformed, ErrUnknownKey, ErrUnknownVersion, ErrState,
// ErrAuthentication (another aad than at encryption, or altered bytes), a
// provider.Error if the key manager had to be asked and failed.
func (e *Engine) Decrypt(ctx context.Context, ciphertext, aad []byte) ([]byte, error) {
	return e.AppendDecrypt(ctx, nil, ciphertext, aad)
}

// AppendDecrypt is Decrypt into the caller's buffer, which must not overlap the
// ciphertext or aad.
func (e *Engine) AppendDecrypt(ctx context.Context, dst, ciphertext, aad []byte) ([]byte, error) {
	if keyring.IsBinary(ciphertext) {
		return e.decryptBinary(ctx, dst, ciphertext, aad)
	}
	token, err := keyring.ParseToken(ciphertext)
	if err != nil {
		return dst, err
	}
	k, err := e.tokenKey(ctx, token)
	if err != nil {
		return dst, err
	}
	c := k.ring.Opened(token.Version)
	if c == nil {
		if c, err = e.opener(ctx, k, token.Version); err != nil {
			return dst, err
		}
	}
	return c.OpenText(dst, token, aad)
}

func (e *Engine) decryptBinary(ctx context.Context, dst, ciphertext, aad []byte) ([]byte, error) {
	parsed, err := keyring.ParseBinary(ciphertext)
	if err != nil {
		return dst, err
	}
	k, ok := e.keys.Load().byPrefix[parsed.KeyPrefix()]
	if !ok {
		if k, err = e.meetPrefix(ctx, parsed.KeyPrefix()); err != nil {
			return dst, err
		}
	}
	c := k.ring.Opened(parsed.Version())
	if c == nil {
		if c, err = e.opener(ctx, k, parsed.Version()); err != nil {
			return dst, err
		}
	}
	return c.OpenBinary(dst, parsed, aad)
}

// locate answers the key and version that a ciphertext of either form names.
func (e *Engine) locate(ctx context.Context, ciphertext []byte) (*key, uint32, error) {
	if keyring.IsBinary(ciphertext) {
		parsed, err := keyring.ParseBinary(ciphertext)
		if err != nil {
			return nil, 0, err
		}
		k, err := e.keyByPrefix(ctx, parsed.KeyPrefix())
		return k, parsed.Version(), err
	}
	token, err := keyring.ParseToken(ciphertext)
	if err != nil {
		return nil, 0, err
	}
	k, err := e.tokenKey(ctx, token)
	return k, token.Version, err
}

// Identify answers which version of which key a ciphertext of either form is under, and
// looks no further: whether there is such a version, and whether it opens, is for
// Decrypt to say.
func (e *Engine) Identify(ctx context.Context, ciphertext []byte) (key string, version uint32, err error) {
	k, version, err := e.locate(ctx, ciphertext)
	if err != nil {
		return "", 0, err
	}
	return k.name, version, nil
}

// Text answers a ciphertext of either form as a token. It needs no key, only to know
// what the key is called.
func (e *Engine) Text(ctx context.Context, ciphertext []byte) ([]byte, error) {
	k, _, err := e.locate(ctx, ciphertext)
	if err != nil {
		return nil, err
	}
	if !keyring.IsBinary(ciphertext) {
		return bytes.Clone(ciphertext), nil
	}
	return keyring.BinaryToText(ciphertext, k.name)
}

// tokenKey spares the conversion to a string where the key is known.
func (e *Engine) tokenKey(ctx context.Context, token keyring.Token) (*key, error) {
	if k, ok := e.keys.Load().byName[string(token.Key)]; ok {
		return k, nil
	}
	return e.meetKey(ctx, string(token.Key))
}
