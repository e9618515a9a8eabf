package keyring

import (
	"bytes"
	"crypto/fips140"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mustCipher(t testing.TB, root Root, b Binding, name string) *Cipher {
	t.Helper()
	c, err := NewCipher(root, b, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var testKeyID = KeyID{1, 2, 3}

func newTestCipher(t testing.TB, algorithm Algorithm) *Cipher {
	t.Helper()
	return mustCipher(t, GenerateRoot(), Binding{Store: NewStoreID(), Key: testKeyID, Version: 12, Algorithm: algorithm}, "payments")
}

// algorithms are those that this process may use. In FIPS 140 mode the other one is
// refused, which TestBindings asserts.
func algorithms() []Algorithm {
	if fips140.Enabled() {
		return []Algorithm{AES256GCM}
	}
	return []Algorithm{AES256GCM, XChaCha20Poly1305}
}

func TestRoundTrip(t *testing.T) {
	for _, algorithm := range algorithms() {
		c := newTestCipher(t, algorithm)
		rapid.Check(t, func(t *rapid.T) {
			plaintext := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "plaintext")
			aad := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "aad")
			before := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "dst")
			room := rapid.IntRange(0, 5000).Draw(t, "room")
			dst := append(make([]byte, 0, len(before)+room), before...)

			text, err := c.AppendText(dst, plaintext, aad)
			if err != nil || !bytes.HasPrefix(text, before) {
				t.Fatalf("AppendText: %v", err)
			}
			token, err := ParseToken(text[len(before):])
			if err != nil {
				t.Fatal(err)
			}
			if len(text)-len(before) > MaxTokenLen {
				t.Fatal("longer than MaxTokenLen")
			}
			got, err := c.OpenText(append([]byte(nil), before...), token, aad)
			if err != nil || !bytes.Equal(got, append(append([]byte(nil), before...), plaintext...)) {
				t.Fatalf("OpenText = %x, %v", got, err)
			}
			bin, err := TextToBinary(text[len(before):], testKeyID)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := ParseBinary(bin)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := c.OpenBinary(nil, parsed, aad); err != nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("OpenBinary = %x, %v", got, err)
			}
			back, err := BinaryToText(bin, "payments")
			if err != nil || !bytes.Equal(back, text[len(before):]) {
				t.Fatalf("BinaryToText = %s, %v", back, err)
			}
		})
	}
}

// TestTampering flips every bit of a ciphertext of each form in turn.
func TestTampering(t *testing.T) {
	for _, algorithm := range algorithms() {
		c := newTestCipher(t, algorithm)
		bin, err := c.AppendBinary(nil, []byte("s3cret"), []byte("aad"))
		if err != nil {
			t.Fatal(err)
		}
		for i := binaryHeader; i < len(bin); i++ {
			for bit := range 8 {
				altered := bytes.Clone(bin)
				altered[i] ^= 1 << bit
				parsed, err := ParseBinary(altered)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.OpenBinary(nil, parsed, []byte("aad")); !errors.Is(err, ErrAuthentication) {
					t.Fatalf("byte %d bit %d: %v", i, bit, err)
				}
			}
		}
		text, err := c.AppendText(nil, []byte("s3cret"), []byte("aad"))
		if err != nil {
			t.Fatal(err)
		}
		for i := len(c.header); i < len(text); i++ {
			for _, r := range []byte{'A', 'z', '_', '\n', '\r', '=', '+', 0} {
				if text[i] == r {
					continue
				}
				altered := bytes.Clone(text)
				altered[i] = r
				if _, err := openToken(c, altered, []byte("aad")); err == nil {
					t.Fatalf("byte %d as %q still opens", i, r)
				}
			}
		}
		if _, err := openToken(c, text, []byte("other")); !errors.Is(err, ErrAuthentication) {
			t.Errorf("another AAD: %v", err)
		}
		if _, err := openToken(c, text, nil); !errors.Is(err, ErrAuthentication) {
			t.Errorf("no AAD: %v", err)
		}
	}
}

// TestOneTextPerCiphertext: bits that base64 leaves over must be zero.
func TestOneTextPerCiphertext(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	c := newTestCipher(t, AES256GCM)
	for n := range 3 { // lengths that leave 0, 2 and 4 bits over
		text, err := c.AppendText(nil, make([]byte, n), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, last := range []byte(alphabet) {
			if altered := append(bytes.Clone(text[:len(text)-1]), last); last != text[len(text)-1] {
				if _, err := openToken(c, altered, nil); err == nil {
					t.Errorf("%s opens as %s does", altered, text)
				}
			}
		}
	}
}

func openToken(c *Cipher, text, aad []byte) ([]byte, error) {
	token, err := ParseToken(text)
	if err != nil {
		return nil, err
	}
	return c.OpenText(nil, token, aad)
}

// TestNoInsertedNewlines: Go's base64 decoder skips CR and LF; ours must not, or
// one ciphertext would have many texts.
func TestNoInsertedNewlines(t *testing.T) {
	c := newTestCipher(t, AES256GCM)
	for n := range 12 {
		text, err := c.AppendText(nil, make([]byte, n), nil)
		if err != nil {
			t.Fatal(err)
		}
		for at := len(c.header); at <= len(text); at++ {
			for _, extra := range []string{"\n", "\r\n", "\r", "\n\n\n", "\n\n\n\n"} {
				altered := append(append(bytes.Clone(text[:at]), extra...), text[at:]...)
				if got, err := openToken(c, altered, nil); !errors.Is(err, ErrMalformed) {
					t.Fatalf("%q opens to %q, %v", altered, got, err)
				}
			}
		}
	}
}

func TestParseTokenRefuses(t *testing.T) {
	payload := base64.RawURLEncoding.EncodeToString(append([]byte{formatAES256GCM}, make([]byte, 28)...))
	if _, err := ParseToken([]byte("keyrotor:k:v1:" + payload)); err != nil {
		t.Fatalf("the shortest token: %v", err)
	}
	for _, bad := range []string{
		"", "keyrotor", "keyrotor:", "keyrotor::v1:" + payload, "Keyrotor:k:v1:" + payload,
		"keyrotor:K:v1:" + payload, "keyrotor:.k:v1:" + payload, "keyrotor:-k:v1:" + payload, "keyrotor:k_1:v1:" + payload,
		"keyrotor:" + strings.Repeat("k", 64) + ":v1:" + payload,
		"keyrotor:k:1:" + payload, "keyrotor:k:v:" + payload, "keyrotor:k:v0:" + payload, "keyrotor:k:v01:" + payload,
		"keyrotor:k:V1:" + payload, "keyrotor:k:v+1:" + payload, "keyrotor:k:v4294967296:" + payload, "keyrotor:k:v99999999999:" + payload,
		"keyrotor:k:v1:", "keyrotor:k:v1", "keyrotor:k:v1:" + payload[:len(payload)-1], "keyrotor:k:v1:" + payload[:4],
		"keyrotor:k:v1:" + payload + "AA", "keyrotor:k:v1:B" + payload[1:], "keyrotor:k:v1:A\n\n\n" + payload,
		"keyrotor:k:v1:" + strings.Repeat("A", 60), "keyrotor:k:v1:" + strings.Repeat("AwAA", 30),
	} {
		if got, err := ParseToken([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseToken(%q) = %+v, %v", bad, got, err)
		}
	}
	if tok, err := ParseToken([]byte("keyrotor:k:v4294967295:" + payload)); err != nil || tok.Version != 1<<32-1 {
		t.Errorf("the highest version: %v", err)
	}
}

func TestSizes(t *testing.T) {
	c := newTestCipher(t, AES256GCM)
	large := make([]byte, MaxPlaintext+1)
	if _, err := c.AppendText(nil, large, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("text over the limit: %v", err)
	}
	if _, err := c.AppendBinary(nil, large, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("binary over the limit: %v", err)
	}
	text, err := c.AppendText(nil, large[:MaxPlaintext], nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openToken(c, text, nil); err != nil || len(got) != MaxPlaintext {
		t.Errorf("at the limit: %d bytes, %v", len(got), err)
	}
	for n, want := range map[int]uint64{0: 1, 1: 1, 1 << 20: 1, 1<<20 + 1: 2, MaxPlaintext: 64} {
		if got := Uses(n); got != want {
			t.Errorf("Uses(%d) = %d, want %d", n, got, want)
		}
	}
}

// TestBindings: a root under any other binding opens nothing and fails its check.
func TestBindings(t *testing.T) {
	root := GenerateRoot()
	base := Binding{Store: NewStoreID(), Key: KeyID{1}, Version: 1, Algorithm: AES256GCM}
	kcv, err := root.KCV(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Verify(base, kcv); err != nil {
		t.Fatal(err)
	}
	bin, err := mustCipher(t, root, base, "k").AppendBinary(nil, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseBinary(bin)
	if err != nil {
		t.Fatal(err)
	}
	others := map[string]Binding{
		"store": {NewStoreID(), base.Key, 1, AES256GCM}, "key": {base.Store, KeyID{2}, 1, AES256GCM},
		"version": {base.Store, base.Key, 2, AES256GCM}, "algorithm": {base.Store, base.Key, 1, XChaCha20Poly1305},
	}
	for name, other := range others {
		if err := root.Verify(other, kcv); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: Verify = %v", name, err)
		}
		if bytes.Equal(other.WrapAAD(), base.WrapAAD()) {
			t.Errorf("%s: same wrap AAD", name)
		}
		c, err := NewCipher(root, other, "k")
		if fips140.Enabled() && other.Algorithm == XChaCha20Poly1305 {
			if !errors.Is(err, ErrFIPS) {
				t.Errorf("%s: %v, want ErrFIPS", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.OpenBinary(nil, parsed, nil); err == nil {
			t.Errorf("%s: opens", name)
		}
	}
	if err := GenerateRoot().Verify(base, kcv); !errors.Is(err, ErrIntegrity) {
		t.Errorf("another root: %v", err)
	}
	if _, err := NewRoot(make([]byte, 16)); !errors.Is(err, ErrIntegrity) {
		t.Errorf("a short root: %v", err)
	}
	root.Wipe()
	if _, err := NewCipher(root, base, "k"); !errors.Is(err, ErrIntegrity) {
		t.Errorf("a wiped root: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s %x", root, root, root, root, root); strings.Count(s, "[redacted]") != 5 {
		t.Errorf("a root prints as %s", s)
	}
}

func TestAllocations(t *testing.T) {
	c := newTestCipher(t, AES256GCM)
	plaintext, aad := make([]byte, 1024), []byte("aad")
	buf := make([]byte, 0, 4096)
	text, err := c.AppendText(nil, plaintext, aad)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]struct {
		want float64
		call func() error
	}{
		"append text":    {0, func() error { _, err := c.AppendText(buf, plaintext, aad); return err }},
		"append binary":  {0, func() error { _, err := c.AppendBinary(buf, plaintext, aad); return err }},
		"open into":      {0, func() error { _, err := c.OpenText(buf, token, aad); return err }},
		"new text":       {1, func() error { _, err := c.AppendText(nil, plaintext, aad); return err }},
		"open to new":    {1, func() error { _, err := c.OpenText(nil, token, aad); return err }},
		"parsing itself": {0, func() error { _, err := ParseToken(text); return err }},
	} {
		var err error
		if got := testing.AllocsPerRun(100, func() { err = f.call() }); got != f.want || err != nil {
			t.Errorf("%s: %v allocations, want %v (%v)", name, got, f.want, err)
		}
	}
	if cap(text) != len(text) {
		t.Errorf("a new token of %d bytes takes %d", len(text), cap(text))
	}
}

func FuzzParseToken(f *testing.F) {
	c := newTestCipher(f, AES256GCM)
	text, err := c.AppendText(nil, []byte("s3cret"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("keyrotor:k:v1:AQAA"))
	f.Add([]byte("keyrotor:a.b-c:v4294967295:Ag"))
	f.Fuzz(func(t *testing.T, b []byte) {
		token, err := ParseToken(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error outside the set: %v", err)
			}
			return
		}
		// What parses is what its parts write.
		if again := tokenHeader(string(token.Key), token.Version) + string(token.Payload); again != string(b) {
			t.Fatalf("%q parses and writes %q", b, again)
		}
		if bin, err := TextToBinary(b, testKeyID); err == nil {
			if back, err := BinaryToText(bin, string(token.Key)); err != nil || !bytes.Equal(back, b) {
				t.Fatalf("%q converts to %q, %v", b, back, err)
			}
		}
		if _, err := c.OpenText(nil, token, nil); err == nil && !bytes.Equal(token.Payload, text[len(c.header):]) {
			t.Fatal("forged")
		}
	})
}

func FuzzParseBinary(f *testing.F) {
	c := newTestCipher(f, AES256GCM)
	bin, err := c.AppendBinary(nil, []byte("s3cret"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bin)
	f.Add([]byte(binaryMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := ParseBinary(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error outside the set: %v", err)
			}
			return
		}
		text, err := BinaryToText(b, "k")
		if err != nil {
			t.Fatal(err)
		}
		id := KeyID(append(bytes.Clone(b[len(binaryMagic)+1:][:8]), make([]byte, 8)...))
		if id.Prefix() != parsed.KeyPrefix() {
			t.Fatalf("prefix %x of %x", parsed.KeyPrefix(), b)
		}
		if back, err := TextToBinary(text, id); err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%x converts to %x, %v", b, back, err)
		}
		if _, err := c.OpenBinary(nil, parsed, nil); err == nil && !bytes.Equal(parsed.body(), bin[binaryHeader:]) {
			t.Fatal("forged")
		}
	})
}
