package engine

import (
	"context"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// maxPooled is the largest buffer that Renew keeps.
const maxPooled = 1 << 20

// Reencrypt appends to dst the ciphertext, of either form, under the key's primary
// version and in the same form. One that is there already is appended as it is,
// without being opened, and changed is false. The plaintext exists in memory for
// the time of the call only. Its uses count towards the hard limit, where it waits as
// Encrypt does, and are told apart from those that a policy counts.
func (e *Engine) Reencrypt(ctx context.Context, dst, ciphertext, aad []byte) (out []byte, changed bool, err error) {
	out, from, to, err := e.Renew(ctx, dst, ciphertext, aad)
	return out, from != to, err
}

// Renew is Reencrypt for who wants to know from which version to which. The two are
// equal if nothing was changed. If it fails, both are the version that the ciphertext is
// under, or zero if that is not known.
func (e *Engine) Renew(ctx context.Context, dst, ciphertext, aad []byte) (out []byte, from, to uint32, err error) {
	k, from, err := e.locate(ctx, ciphertext)
	if err != nil {
		return dst, 0, 0, err
	}
	primary, opener := k.ring.Record().Primary, k.ring.Opened(from)
	if opener == nil && from != primary {
		// A version that this process has not met may be the primary of a rotation
		// elsewhere; looking it up tells.
		if opener, err = e.opener(ctx, k, from); err != nil {
			return dst, from, from, err
		}
		primary = k.ring.Record().Primary
	}
	if from == primary {
		return append(dst, ciphertext...), from, from, nil
	}
	buf := e.plaintexts.Get().(*[]byte)
	defer e.plaintexts.Put(buf)
	plaintext, err := openWith(opener, (*buf)[:0], ciphertext, aad)
	if err != nil {
		return dst, from, from, err
	}
	defer clear(plaintext)
	if cap(plaintext) <= maxPooled {
		*buf = plaintext
	}
	sealer, err := e.sealer(ctx, k, keyring.Reencrypting, len(plaintext))
	if err != nil {
		return dst, from, from, err
	}
	if sealer.Version() == from { // it was made the primary elsewhere, as the grant of uses told
		return append(dst, ciphertext...), from, from, nil
	}
	if keyring.IsBinary(ciphertext) {
		out, err = sealer.AppendBinary(dst, plaintext, aad)
	} else {
		out, err = sealer.AppendText(dst, plaintext, aad)
	}
	if err != nil {
		return out, from, from, err
	}
	return out, from, sealer.Version(), nil
}

// openWith opens a ciphertext of either form with the cipher of its version.
func openWith(c *keyring.Cipher, dst, ciphertext, aad []byte) ([]byte, error) {
	if keyring.IsBinary(ciphertext) {
		parsed, err := keyring.ParseBinary(ciphertext)
		if err != nil {
			return dst, err
		}
		return c.OpenBinary(dst, parsed, aad)
	}
	token, err := keyring.ParseToken(ciphertext)
	if err != nil {
		return dst, err
	}
	return c.OpenText(dst, token, aad)
}
