package main

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// references is what the hot path is compared with.
type references struct {
	limit cipher.AEAD
	tink  tink.AEAD
}

func newReferences() *references {
	block := must(aes.NewCipher(random(32)))
	handle := must(keyset.NewHandle(aead.AES256GCMKeyTemplate()))
	return &references{
		limit: must(cipher.NewGCMWithRandomNonce(block)),
		tink:  must(aead.New(handle)),
	}
}

func (l *lab) limitSeal(n int) loop {
	return func() func() {
		limit, plaintext, buf := l.refs().limit, random(n), make([]byte, 0, n+100)
		return func() { limit.Seal(buf, nil, plaintext, aad) }
	}
}

func (l *lab) limitOpen(n int) loop {
	return func() func() {
		limit, buf := l.refs().limit, make([]byte, 0, n)
		ct := limit.Seal(nil, nil, random(n), aad)
		return func() { must(limit.Open(buf, nil, ct, aad)) }
	}
}

func (l *lab) limitOpenAndSeal(n int) loop {
	return func() func() {
		limit, buf, out := l.refs().limit, make([]byte, 0, n), make([]byte, 0, n+28)
		ct := limit.Seal(nil, nil, random(n), aad)
		return func() { limit.Seal(out, nil, must(limit.Open(buf, nil, ct, aad)), aad) }
	}
}

func (l *lab) limitOpenAndSealText(n int) loop {
	return func() func() {
		limit, enc := l.refs().limit, base64.RawURLEncoding
		text := enc.AppendEncode(nil, limit.Seal(nil, nil, random(n), aad))
		raw, buf := make([]byte, 0, n+28), make([]byte, 0, n)
		sealed, out := make([]byte, 0, n+28), make([]byte, 0, 2*n)
		return func() {
			ct := must(enc.AppendDecode(raw, text))
			enc.AppendEncode(out, limit.Seal(sealed, nil, must(limit.Open(buf, nil, ct, aad)), aad))
		}
	}
}

func (l *lab) tinkEncrypt(n int) loop {
	return func() func() {
		tink, plaintext := l.refs().tink, random(n)
		return func() { must(tink.Encrypt(plaintext, aad)) }
	}
}

func (l *lab) tinkDecrypt(n int) loop {
	return func() func() {
		tink := l.refs().tink
		ct := must(tink.Encrypt(random(n), aad))
		return func() { must(tink.Decrypt(ct, aad)) }
	}
}
