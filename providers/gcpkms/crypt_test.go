package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

// TestWrongAnswers: whatever is wrong with an answer, no root and no wrap comes of it.
func TestWrongAnswers(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m, other := newKEK(t, s), newKEK(t, s)
	w := mustWrap(t, m, "aad")
	encrypt, decrypt := gcpkmsfake.Wrong[kmspb.EncryptResponse], gcpkmsfake.Wrong[kmspb.DecryptResponse]
	for name, c := range map[string]struct {
		fault faultplan.Fault
		says  string
	}{
		"Encrypt: the root was not checked":  {encrypt(func(r *kmspb.EncryptResponse) { r.VerifiedPlaintextCrc32C = false }), "checked the root"},
		"Encrypt: the AAD was not checked":   {encrypt(func(r *kmspb.EncryptResponse) { r.VerifiedAdditionalAuthenticatedDataCrc32C = false }), "checked the AAD"},
		"Encrypt: no checksum":               {encrypt(func(r *kmspb.EncryptResponse) { r.CiphertextCrc32C = nil }), "CRC32C"},
		"Encrypt: another checksum":          {encrypt(func(r *kmspb.EncryptResponse) { r.CiphertextCrc32C.Value++ }), "CRC32C"},
		"Encrypt: a bit of the wrap":         {encrypt(func(r *kmspb.EncryptResponse) { r.Ciphertext[9] ^= 1 }), "CRC32C"},
		"Encrypt: no wrap":                   {encrypt(func(r *kmspb.EncryptResponse) { r.Ciphertext, r.CiphertextCrc32C = nil, checksum(nil) }), "CRC32C"},
		"Encrypt: another key":               {encrypt(func(r *kmspb.EncryptResponse) { r.Name = other.key.version("1") }), "broke its promise"},
		"Encrypt: no version":                {encrypt(func(r *kmspb.EncryptResponse) { r.Name = m.key.String() }), "broke its promise"},
		"Encrypt: a version that is no name": {encrypt(func(r *kmspb.EncryptResponse) { r.Name = m.key.version("1/x") }), "broke its promise"},
		"Decrypt: no checksum":               {decrypt(func(r *kmspb.DecryptResponse) { r.PlaintextCrc32C = nil }), "CRC32C"},
		"Decrypt: a bit of the root":         {decrypt(func(r *kmspb.DecryptResponse) { r.Plaintext[31] ^= 1 }), "CRC32C"},
		"Decrypt: a short root": {decrypt(func(r *kmspb.DecryptResponse) {
			r.Plaintext = r.Plaintext[:16]
			r.PlaintextCrc32C = checksum(r.Plaintext)
		}), "no root"},
		"Decrypt: no root": {decrypt(func(r *kmspb.DecryptResponse) { r.Plaintext = nil; r.PlaintextCrc32C = checksum(nil) }), "no root"},
	} {
		call, _, _ := strings.Cut(name, ":")
		does := map[string]func() error{
			"wrap": func() error { _, err := wrap(t.Context(), m, "aad"); return err },
			"generate": func() error {
				g, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
				if g.Plaintext.Len() != 0 {
					t.Errorf("%s: a root comes with the error", name)
				}
				return err
			},
			"rewrap": func() error { _, err := rewrap(t.Context(), m, w, "aad"); return err },
		}
		if call == "Decrypt" {
			does = map[string]func() error{
				"unwrap": func() error { return unwrap(t.Context(), m, w, "aad") },
				"rewrap": does["rewrap"],
			}
		}
		for what, do := range does {
			s.Next(1, "*/"+call, c.fault)
			wantError(t, name+", "+what, do(), provider.Integrity, "", c.says)
			if s.Pending() != 0 {
				t.Fatalf("%s, %s: the fault was not used", name, what)
			}
		}
	}
	// Rewrap names a version, and takes no other.
	s.Next(1, "*/Encrypt", encrypt(func(r *kmspb.EncryptResponse) { r.Name = m.key.version("7") }))
	_, err := rewrap(t.Context(), m, w, "aad")
	wantError(t, "rewrap under another version", err, provider.Integrity, "", "cryptoKeyVersions/7")
	for what, fault := range map[string]faultplan.Fault{
		"another key":              gcpkmsfake.Wrong(func(k *kmspb.CryptoKey) { k.Name = other.key.String() }),
		"a primary of another key": gcpkmsfake.Wrong(func(k *kmspb.CryptoKey) { k.Primary.Name = other.key.version("1") }),
	} {
		s.Next(1, "*/GetCryptoKey", fault)
		_, err = m.DescribeKey(t.Context())
		wantError(t, what, err, provider.Integrity, "", "broke its promise")
	}
	s.Next(1, "*/GetCryptoKey", gcpkmsfake.Wrong(func(k *kmspb.CryptoKey) { k.Purpose = kmspb.CryptoKey_MAC }))
	_, err = m.DescribeKey(t.Context())
	wantError(t, "another purpose", err, provider.InvalidConfig, attrKey, "MAC")
}

// TestChecksumsAreSent: a root or an AAD that changes on its way is refused by the other side.
func TestChecksumsAreSent(t *testing.T) {
	strict := newKEK(t, fake(t, gcpkmsfake.Options{RequireChecksums: true}))
	for _, aad := range []string{"aad", ""} {
		w := mustWrap(t, strict, aad)
		if err := unwrap(t.Context(), strict, w, aad); err != nil {
			t.Error(err)
		}
		if _, err := rewrap(t.Context(), strict, w, aad); err != nil {
			t.Error(err)
		}
	}
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	client := admin(t, s)
	aad, plain := []byte("aad"), root().Reveal()
	_, err := client.Encrypt(t.Context(), &kmspb.EncryptRequest{
		Name: m.key.String(), Plaintext: append([]byte{0}, plain[1:]...), PlaintextCrc32C: checksum(plain),
	})
	wantError(t, "an altered root", m.failure(methodEncrypt, m.key.String(), err), provider.Integrity, "", "plaintext_crc32c")
	w := mustWrap(t, m, "aad")
	_, ciphertext, err := parseBlob(w.Blob)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Decrypt(t.Context(), &kmspb.DecryptRequest{
		Name: m.key.String(), Ciphertext: ciphertext, AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: checksum([]byte("aae")),
	})
	wantError(t, "an altered AAD", m.failure(methodDecrypt, m.key.String(), err), provider.Integrity, "", "additional_authenticated_data_crc32c")
}

// TestBlob: the form of a wrap is final.
func TestBlob(t *testing.T) {
	if got := string(newBlob("12", []byte("cipher:text"))); got != "v12:cipher:text" {
		t.Errorf("a wrap is %q", got)
	}
	version, ciphertext, err := parseBlob([]byte("v12:cipher:text"))
	if version != "12" || string(ciphertext) != "cipher:text" || err != nil {
		t.Errorf("it reads as %q, %q, %v", version, ciphertext, err)
	}
	for _, blob := range []string{"", "v", "v1", "v1:", ":x", "v:x", "v0:x", "v01:x", "v+1:x", "v-1:x", "v 1:x", "w1:x", "1:x", "v99999999999999999999:x"} {
		if _, _, err := parseBlob([]byte(blob)); !errors.Is(err, provider.Integrity) {
			t.Errorf("%q: %v", blob, err)
		}
	}
}

// TestRecordedVersion: a record that names another version than the wrap is noticed.
func TestRecordedVersion(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	w := mustWrap(t, m, "aad")
	if _, err := rotate(t.Context(), m, "1"); err != nil {
		t.Fatal(err)
	}
	for recorded, code := range map[string]provider.Code{"": "", "1": "", "2": provider.Integrity, "3": provider.NotFoundVersion, "x": provider.NotFoundVersion} {
		w.KEKVersion = recorded
		if err := unwrap(t.Context(), m, w, "aad"); provider.CodeOf(err) != code {
			t.Errorf("recorded as %q: %v", recorded, err)
		}
	}
}

// TestSizes: the AAD may be as long as an HSM's key takes.
func TestSizes(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := open(t, at(s, newName()))
	_, err := admin(t, s).CreateCryptoKey(t.Context(), &kmspb.CreateCryptoKeyRequest{
		Parent: m.key.keyRing(), CryptoKeyId: m.key.id, CryptoKey: &kmspb.CryptoKey{
			Purpose:         kmspb.CryptoKey_ENCRYPT_DECRYPT,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{ProtectionLevel: kmspb.ProtectionLevel_HSM},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := describe(t, m); d.Algorithm != "GOOGLE_SYMMETRIC_ENCRYPTION/HSM" {
		t.Errorf("the algorithm is %q", d.Algorithm)
	}
	longest := strings.Repeat("x", maxBound-provider.RootSize)
	w := mustWrap(t, m, longest)
	if err := unwrap(t.Context(), m, w, longest); err != nil {
		t.Error(err)
	}
	s.Forget()
	_, err = wrap(t.Context(), m, longest+"x")
	wantError(t, "one byte more", err, provider.InvalidArgument, "", "too long")
	wantCalls(t, "one byte more", s, map[string]int{})
}

// TestBatches: one bad item harms no other; what concerns all fails the call.
func TestBatches(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	var items []provider.UnwrapItem
	for i := range 3 * atOnce {
		aad := fmt.Sprint(i)
		items = append(items, provider.UnwrapItem{Wrapped: mustWrap(t, m, aad), AAD: []byte(aad)})
	}
	items[5].AAD = []byte("another")
	items[7].Wrapped.KEKID = "projects/p/locations/l/keyRings/r/cryptoKeys/another"
	results, err := m.Unwrap(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		want := map[int]provider.Code{5: provider.Integrity, 7: provider.NotFoundKey}[i]
		if provider.CodeOf(r.Err) != want || want == "" && !r.Plaintext.Equal(root()) {
			t.Errorf("item %d answers %v", i, r.Err)
		}
	}
	for code, fault := range map[provider.Code]faultplan.Fault{
		provider.Throttled: faultplan.Throttled(0), provider.Unavailable: faultplan.Cut(), provider.Denied: faultplan.Refused(),
	} {
		// Not once: a request of a call that was given up may still be on its way.
		s.Every("*/Decrypt", fault)
		if results, err := m.Unwrap(t.Context(), items); provider.CodeOf(err) != code || results != nil {
			t.Errorf("%s: the call answers %v, %v", code, results, err)
		}
		s.Clear()
	}
}

// TestNothingIsRetried: a call that fails is made once.
func TestNothingIsRetried(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	for _, fault := range []faultplan.Fault{faultplan.Failed(503), faultplan.Failed(504), faultplan.Cut(), faultplan.Lost()} {
		s.Next(1, "*/Encrypt", fault)
		if _, err := wrap(t.Context(), m, ""); !errors.Is(err, provider.Unavailable) {
			t.Errorf("it answers %v", err)
		}
		wantCalls(t, "a failing wrap", s, map[string]int{"Encrypt": 1})
	}
}

func TestClosed(t *testing.T) {
	s := fake(t, gcpkmsfake.Options{})
	m := newKEK(t, s)
	arrived, release := make(chan struct{}), make(chan struct{})
	s.Next(1, "*/Encrypt", faultplan.Wrong(func(body []byte) []byte {
		close(arrived)
		<-release
		return body
	}))
	ended := make(chan error)
	go func() {
		_, err := wrap(context.WithoutCancel(t.Context()), m, "")
		ended <- err
	}()
	<-arrived
	defer close(release)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, "a call under way", <-ended, provider.Unavailable, "")
	_, err := m.DescribeKey(t.Context())
	wantError(t, "a call afterwards", err, provider.NotFoundInstance, "")
}
