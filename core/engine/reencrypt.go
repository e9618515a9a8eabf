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
	out, to, err = e.move(ctx, dst, ciphertext, aad, k, opener)
	return out, from, to, err
}

// move opens a ciphertext, seals what is in it under the primary, and answers which
// version that is. If it fails, that is the version of opener.
func (e *Engine) move(ctx context.Context, dst, ciphertext, aad []byte, k *key, opener *keyring.Cipher) (out []byte, to uint32, err error) {
	from := opener.Version()
	buf := e.plaintexts.Get().(*[]byte)
	defer e.putBack(buf)
	if *buf, err = openWith(opener, (*buf)[:0], ciphertext, aad); err != nil {
		return dst, from, err
	}
	sealer, err := e.sealer(ctx, k, keyring.Reencrypting, len(*buf))
	if err != nil {
		return dst, from, err
	}
	if sealer.Version() == from { // it was made the primary elsewhere, as the grant of uses told
		return append(dst, ciphertext...), from, nil
	}
	if keyring.IsBinary(ciphertext) {
		out, err = sealer.AppendBinary(dst, *buf, aad)
	} else {
		out, err = sealer.AppendText(dst, *buf, aad)
	}
	if err != nil {
		return out, from, err
	}
	return out, sealer.Version(), nil
}

// putBack wipes the plaintext in a buffer, and keeps it for the next unless it is large.
func (e *Engine) putBack(buf *[]byte) {
	clear(*buf)
	if cap(*buf) > maxPooled {
		*buf = nil
	}
	e.plaintexts.Put(buf)
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
