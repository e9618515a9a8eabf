package main

import (
	"context"
	"encoding/base64"

	"github.com/keyrotor/keyrotor/core/keyring"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// aad is what every value here is bound to; it is read-only.
var aad = []byte("orders/42")

// cipherRows are about one goroutine that encrypts and decrypts.
func (l *lab) cipherRows() []row {
	var rows []row
	for _, size := range []struct {
		label string
		n     int
		bar   float64
	}{{"32 B", 32, 1.30}, {"1 KiB", kib, 1.10}, {"64 KiB", 64 * kib, 1.03}, {"1 MiB", mib, 1.03}} {
		rows = append(rows,
			against("encrypt, append, "+size.label+", against the limit", atMost(size.bar), 0, l.encryptAppend(size.n), l.limitSeal(size.n)),
			against("decrypt, append, "+size.label+", against the limit", atMost(size.bar), 0, l.decryptAppend(oneVersion, size.n), l.limitOpen(size.n)))
	}
	return append(rows,
		against("encrypt, new slice, 1 KiB, against Tink", atMost(1), 1, l.encryptNew(kib), l.tinkEncrypt(kib)),
		against("decrypt, new slice, 1 KiB, against Tink", atMost(1), 1, l.decryptNew(kib), l.tinkDecrypt(kib)),
		against("encrypt to text, 1 KiB, against binary + base64", atMost(1.15), 0, l.encryptText(kib), l.encryptBinaryAndEncode(kib)),
		against("decrypt of text, 1 KiB, against base64 + binary", atMost(1.15), 0, l.decryptText(kib), l.decodeAndDecryptBinary(kib)),
		against("decrypt, 1000 versions against 1", atMost(1.05), 0, l.decryptAppend(manyVersion, kib), l.decryptAppend(oneVersion, kib)),
		against("re-encrypt, binary, 1 KiB, against limit decrypt + encrypt", atMost(1.25), 0, l.reencryptBinary(kib), l.limitOpenAndSeal(kib)),
		against("re-encrypt, text, 1 KiB, against the same + base64 both ways", atMost(1.25), 0, l.reencryptText(kib), l.limitOpenAndSealText(kib)),
	)
}

func (l *lab) encryptAppend(n int) loop {
	return func() func() {
		e, ctx, plaintext, buf := l.subject().Engine, l.ctx, random(n), make([]byte, 0, n+100)
		return func() { must(e.AppendEncryptBinary(ctx, buf, oneVersion, plaintext, aad)) }
	}
}

func (l *lab) decryptAppend(key string, n int) loop {
	return func() func() {
		e, ctx, buf := l.subject().Engine, l.ctx, make([]byte, 0, n)
		ct := must(e.EncryptBinary(ctx, key, random(n), aad))
		return func() { must(e.AppendDecrypt(ctx, buf, ct, aad)) }
	}
}

func (l *lab) encryptNew(n int) loop {
	return func() func() {
		e, ctx, plaintext := l.subject().Engine, l.ctx, random(n)
		return func() { must(e.EncryptBinary(ctx, oneVersion, plaintext, aad)) }
	}
}

func (l *lab) decryptNew(n int) loop {
	return func() func() {
		e, ctx := l.subject().Engine, l.ctx
		ct := must(e.EncryptBinary(ctx, oneVersion, random(n), aad))
		return func() { must(e.Decrypt(ctx, ct, aad)) }
	}
}

func (l *lab) encryptText(n int) loop {
	return func() func() {
		e, ctx, plaintext, buf := l.subject().Engine, l.ctx, random(n), make([]byte, 0, 2*n+200)
		return func() { must(e.AppendEncrypt(ctx, buf, oneVersion, plaintext, aad)) }
	}
}

func (l *lab) encryptBinaryAndEncode(n int) loop {
	return func() func() {
		e, ctx, plaintext := l.subject().Engine, l.ctx, random(n)
		buf, text := make([]byte, 0, n+100), make([]byte, 0, 2*n+200)
		return func() {
			ct := must(e.AppendEncryptBinary(ctx, buf, oneVersion, plaintext, aad))
			base64.RawURLEncoding.AppendEncode(text, ct)
		}
	}
}

func (l *lab) decryptText(n int) loop {
	return func() func() {
		e, ctx, buf := l.subject().Engine, l.ctx, make([]byte, 0, 2*n)
		ct := must(e.Encrypt(ctx, oneVersion, random(n), aad))
		return func() { must(e.AppendDecrypt(ctx, buf, ct, aad)) }
	}
}

func (l *lab) decodeAndDecryptBinary(n int) loop {
	return func() func() {
		e, ctx := l.subject().Engine, l.ctx
		ct := must(e.EncryptBinary(ctx, oneVersion, random(n), aad))
		text := base64.RawURLEncoding.AppendEncode(nil, ct)
		buf, bin := make([]byte, 0, n), make([]byte, 0, 2*n)
		return func() {
			raw := must(base64.RawURLEncoding.AppendDecode(bin, text))
			must(e.AppendDecrypt(ctx, buf, raw, aad))
		}
	}
}

func (l *lab) reencryptBinary(n int) loop {
	return func() func() { return l.reencrypt(n, l.subject().EncryptBinary) }
}

func (l *lab) reencryptText(n int) loop {
	return func() func() { return l.reencrypt(n, l.subject().Encrypt) }
}

// reencrypt moves a ciphertext of an old version, in the form of encrypt, to the
// primary.
func (l *lab) reencrypt(n int, encrypt func(ctx context.Context, key string, plaintext, aad []byte) ([]byte, error)) (turn func()) {
	s, ctx := l.subject(), l.ctx
	name := s.ensureKey(ctx, "re-encrypted")
	old := must(encrypt(ctx, name, random(n), aad))
	must(s.Rotate(ctx, name, keyring.ReasonManual, ""))
	buf := make([]byte, 0, 2*n+200)
	return func() {
		_, changed, err := s.Reencrypt(ctx, buf, old, aad)
		check(err)
		expect(changed, "the ciphertext is under the primary already")
	}
}
