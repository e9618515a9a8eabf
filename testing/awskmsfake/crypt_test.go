package awskmsfake

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestCrypt(t *testing.T) {
	s := newScene(t, Config{})
	key, other := s.key(), s.key()
	ec := map[string]string{"a": "1", "b": "2"}
	blob := s.encrypt(key, ec)
	decrypt := func(change func(*kms.DecryptInput)) error {
		in := &kms.DecryptInput{KeyId: &key, CiphertextBlob: blob, EncryptionContext: ec}
		change(in)
		out, err := s.Decrypt(s.Context(), in)
		if err == nil && (string(out.Plaintext) != "plain" || *out.KeyId != key || len(*out.KeyMaterialId) != 64) {
			t.Errorf("Decrypt answers %+v", out)
		}
		return err
	}
	altered := append([]byte(nil), blob...)
	altered[len(altered)-1] ^= 1
	for what, c := range map[string]struct {
		change func(*kms.DecryptInput)
		code   string
	}{
		"as it is":          {func(*kms.DecryptInput) {}, ""},
		"without a key":     {func(in *kms.DecryptInput) { in.KeyId = nil }, ""},
		"another key":       {func(in *kms.DecryptInput) { in.KeyId = &other }, "IncorrectKeyException"},
		"another context":   {func(in *kms.DecryptInput) { in.EncryptionContext = map[string]string{"a": "1"} }, "InvalidCiphertextException"},
		"altered":           {func(in *kms.DecryptInput) { in.CiphertextBlob = altered }, "InvalidCiphertextException"},
		"nonsense":          {func(in *kms.DecryptInput) { in.CiphertextBlob = []byte("x"); in.KeyId = nil }, "InvalidCiphertextException"},
		"too long":          {func(in *kms.DecryptInput) { in.CiphertextBlob = make([]byte, 6145) }, "ValidationException"},
		"dry":               {func(in *kms.DecryptInput) { in.DryRun = new(true) }, "DryRunOperationException"},
		"a missing key":     {func(in *kms.DecryptInput) { in.KeyId = new("1234abcd-12ab-34cd-56ef-1234567890ab") }, "NotFoundException"},
		"a broken ARN":      {func(in *kms.DecryptInput) { in.KeyId = new("arn:aws:kms") }, "InvalidArnException"},
		"an alias, missing": {func(in *kms.DecryptInput) { in.KeyId = new("alias/none") }, "NotFoundException"},
	} {
		s.refused(what, decrypt(c.change), c.code)
	}
	re := func(from *string) error {
		_, err := s.ReEncrypt(s.Context(), &kms.ReEncryptInput{
			SourceKeyId: from, DestinationKeyId: &other, CiphertextBlob: blob, SourceEncryptionContext: ec,
		})
		return err
	}
	s.refused("ReEncrypt", re(&key), "")
	s.refused("ReEncrypt from another key", re(&other), "IncorrectKeyException")
	for _, in := range []*kms.GenerateDataKeyInput{
		{KeyId: &key}, {KeyId: &key, KeySpec: types.DataKeySpecAes256, NumberOfBytes: new(int32(32))}, {KeyId: &key, NumberOfBytes: new(int32(1025))},
	} {
		_, err := s.GenerateDataKey(s.Context(), in)
		s.refused("GenerateDataKey", err, "ValidationException")
	}
	_, err := s.Encrypt(s.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: make([]byte, 4097)})
	s.refused("4097 bytes", err, "ValidationException")
	mac, err := s.CreateKey(s.Context(), &kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Encrypt(s.Context(), &kms.EncryptInput{KeyId: mac.KeyMetadata.KeyId, Plaintext: []byte("x")})
	s.refused("an HMAC key", err, "InvalidKeyUsageException")
}
