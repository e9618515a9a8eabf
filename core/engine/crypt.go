package engine

import (
	"context"
	"sync"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Encrypt encrypts under the key's primary version and answers the text form,
// `keyrotor:<key>:v<N>:<payload>`. Decryption needs the same aad; nil is none.
//
// Errors: keyring.ErrUnknownKey, ErrNoPrimary, ErrTooLarge, ErrUsageLimit,
// ErrIntegrity if the stored record was tampered with, a provider.Error if the key
// manager had to be asked and failed.
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
	if n > keyring.MaxPlaintext {
		return nil, keyring.ErrTooLarge
	}
	k, err := e.key(ctx, name)
	if err != nil {
		return nil, err
	}
	return e.sealer(ctx, k, n)
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
	parsed, err := e.parse(ctx, ciphertext)
	if err != nil {
		return dst, err
	}
	c, err := e.opener(ctx, parsed.key, parsed.version)
	if err != nil {
		return dst, err
	}
	return parsed.open(c, dst, aad)
}

// parsed is a ciphertext of either form, and the key that it names.
type parsed struct {
	key      *key
	version  uint32
	isBinary bool
	binary   keyring.Binary
	token    keyring.Token
}

func (e *Engine) parse(ctx context.Context, ciphertext []byte) (p parsed, err error) {
	if p.isBinary = keyring.IsBinary(ciphertext); p.isBinary {
		if p.binary, err = keyring.ParseBinary(ciphertext); err != nil {
			return p, err
		}
		p.version = p.binary.Version
		p.key, err = e.keyByPrefix(ctx, p.binary.KeyPrefix)
		return p, err
	}
	if p.token, err = keyring.ParseToken(ciphertext); err != nil {
		return p, err
	}
	p.version = p.token.Version
	p.key, err = e.tokenKey(ctx, p.token)
	return p, err
}

func (p *parsed) open(c *keyring.Cipher, dst, aad []byte) ([]byte, error) {
	if p.isBinary {
		return c.OpenBinary(dst, p.binary, aad)
	}
	return c.OpenText(dst, p.token, aad)
}

// tokenKey spares the conversion to a string where the key is known.
func (e *Engine) tokenKey(ctx context.Context, token keyring.Token) (*key, error) {
	if k, ok := e.keys.Load().byName[string(token.Key)]; ok {
		return k, nil
	}
	return e.meetKey(ctx, string(token.Key))
}

// plaintexts lends buffers to Reencrypt. They are wiped before they go back.
var plaintexts = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled is the largest buffer that is kept.
const maxPooled = 1 << 20

// Reencrypt appends to dst the ciphertext, of either form, under the key's primary
// version and in the same form. One that is there already is appended as it is,
// without being opened, and changed is false. The plaintext exists in memory for
// the time of the call only.
func (e *Engine) Reencrypt(ctx context.Context, dst, ciphertext, aad []byte) (out []byte, changed bool, err error) {
	old, err := e.parse(ctx, ciphertext)
	if err != nil {
		return dst, false, err
	}
	if old.version == old.key.ring.Record().Primary {
		return append(dst, ciphertext...), false, nil
	}
	opener, err := e.opener(ctx, old.key, old.version)
	if err != nil {
		return dst, false, err
	}
	if old.version == old.key.ring.Record().Primary {
		return append(dst, ciphertext...), false, nil // another process rotated meanwhile
	}
	buf := plaintexts.Get().(*[]byte)
	defer plaintexts.Put(buf)
	plaintext, err := old.open(opener, (*buf)[:0], aad)
	if err != nil {
		return dst, false, err
	}
	defer clear(plaintext)
	if cap(plaintext) <= maxPooled {
		*buf = plaintext
	}
	c, err := e.sealer(ctx, old.key, len(plaintext))
	if err != nil {
		return dst, false, err
	}
	if old.isBinary {
		out, err = c.AppendBinary(dst, plaintext, aad)
	} else {
		out, err = c.AppendText(dst, plaintext, aad)
	}
	return out, err == nil, err
}
