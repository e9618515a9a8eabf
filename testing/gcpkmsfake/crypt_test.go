package gcpkmsfake_test

import (
	"bytes"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

func TestEncryptDecrypt(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key, other := c.newKey("k", 0), c.newKey("other", 0)
	res := c.encrypt(key, "plain", "aad")
	if res.GetName() != key+"/cryptoKeyVersions/1" || res.GetCiphertextCrc32C().GetValue() != crc(string(res.GetCiphertext())).GetValue() ||
		res.GetVerifiedPlaintextCrc32C() || res.GetVerifiedAdditionalAuthenticatedDataCrc32C() {
		t.Errorf("Encrypt answers %v", res)
	}
	back, err := c.decrypt(key, res.GetCiphertext(), "aad")
	if err != nil || string(back.GetPlaintext()) != "plain" || !back.GetUsedPrimary() || back.GetPlaintextCrc32C().GetValue() != crc("plain").GetValue() {
		t.Errorf("Decrypt answers %v, %v", back, err)
	}
	altered := bytes.Clone(res.GetCiphertext())
	altered[len(altered)/2] ^= 1
	for what, try := range map[string]struct {
		key        string
		ciphertext []byte
		aad        string
	}{
		"another AAD": {key, res.GetCiphertext(), "aae"}, "no AAD": {key, res.GetCiphertext(), ""},
		"another key": {other, res.GetCiphertext(), "aad"}, "altered": {key, altered, "aad"},
		"cut short": {key, res.GetCiphertext()[:9], "aad"}, "of no kind": {key, []byte("x"), "aad"},
	} {
		_, err := c.decrypt(try.key, try.ciphertext, try.aad)
		wantCode(t, what, err, codes.InvalidArgument, "Decryption failed")
	}
	_, err = c.decrypt(ring+"/cryptoKeys/none", res.GetCiphertext(), "aad")
	wantCode(t, "no key", err, codes.NotFound, "none")
}

func TestChecksums(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key := c.newKey("k", 0)
	req := &kmspb.EncryptRequest{
		Name: key, Plaintext: []byte("plain"), PlaintextCrc32C: crc("plain"), AdditionalAuthenticatedDataCrc32C: crc(""),
	}
	res, err := c.Encrypt(t.Context(), req)
	if err != nil || !res.GetVerifiedPlaintextCrc32C() || !res.GetVerifiedAdditionalAuthenticatedDataCrc32C() {
		t.Fatalf("Encrypt answers %v, %v", res, err)
	}
	req.PlaintextCrc32C = crc("plane")
	_, err = c.Encrypt(t.Context(), req)
	wantCode(t, "plaintext", err, codes.InvalidArgument, "plaintext_crc32c")
	req.PlaintextCrc32C, req.AdditionalAuthenticatedDataCrc32C = nil, crc("x")
	_, err = c.Encrypt(t.Context(), req)
	wantCode(t, "AAD", err, codes.InvalidArgument, "additional_authenticated_data_crc32c")
	_, err = c.Decrypt(t.Context(), &kmspb.DecryptRequest{Name: key, Ciphertext: res.GetCiphertext(), CiphertextCrc32C: crc("x")})
	wantCode(t, "ciphertext", err, codes.InvalidArgument, "ciphertext_crc32c")
	_, err = c.Decrypt(t.Context(), &kmspb.DecryptRequest{Name: key, Ciphertext: res.GetCiphertext(), AdditionalAuthenticatedDataCrc32C: crc("x")})
	wantCode(t, "AAD of Decrypt", err, codes.InvalidArgument, "additional_authenticated_data_crc32c")
}

func TestSizes(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	software, hsm := c.newKey("k", 0), c.newKey("h", kmspb.ProtectionLevel_HSM)
	for what, try := range map[string]struct {
		key        string
		plain, aad int
		ok         bool
	}{
		"software": {software, 64 << 10, 64 << 10, true}, "a byte more": {software, 64<<10 + 1, 0, false}, "a byte more of AAD": {software, 0, 64<<10 + 1, false},
		"HSM": {hsm, 8<<10 - 9, 9, true}, "HSM, a byte more": {hsm, 8<<10 - 9, 10, false},
	} {
		_, err := c.Encrypt(t.Context(), &kmspb.EncryptRequest{Name: try.key, Plaintext: make([]byte, try.plain), AdditionalAuthenticatedData: make([]byte, try.aad)})
		if try.ok != (err == nil) || !try.ok && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
}
