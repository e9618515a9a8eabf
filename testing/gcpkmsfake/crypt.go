package gcpkmsfake

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"hash/crc32"
	"slices"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The most that an Encrypt takes:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/encrypt
const (
	maxSoftware = 64 << 10 // plaintext, and AAD, of a key that is not in an HSM
	maxHSM      = 8 << 10  // both together
)

func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// verify compares data with the checksum that came with it, if there was one:
// https://cloud.google.com/kms/docs/data-integrity-guidelines
func (s service) verify(field string, data []byte, sum *wrapperspb.Int64Value) (verified bool, err error) {
	if sum == nil && s.options.RequireChecksums {
		return false, invalid("gcpkmsfake: %s comes without a checksum", field)
	}
	if sum == nil {
		return false, nil
	}
	if sum.GetValue() != checksum(data) {
		return false, invalid("The checksum in field %s_crc32c did not match the data in field %s.", field, field)
	}
	return true, nil
}

// Encrypt uses the version that is named, or the primary, and says which it was:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/encrypt
func (s service) Encrypt(_ context.Context, req *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, v, err := s.encrypting(req.GetName())
	if err != nil {
		return nil, err
	}
	switch hsm := v.info.GetProtectionLevel() == kmspb.ProtectionLevel_HSM; {
	case k.info.GetPurpose() != kmspb.CryptoKey_ENCRYPT_DECRYPT:
		return nil, invalid("the purpose of %s is %s, not ENCRYPT_DECRYPT", k.info.GetName(), k.info.GetPurpose())
	case v.info.GetState() != kmspb.CryptoKeyVersion_ENABLED:
		return nil, notEnabled(v)
	case len(req.GetPlaintext()) > maxSoftware, len(req.GetAdditionalAuthenticatedData()) > maxSoftware:
		return nil, invalid("plaintext and additional_authenticated_data have at most 64 KiB")
	case hsm && len(req.GetPlaintext())+len(req.GetAdditionalAuthenticatedData()) > maxHSM:
		return nil, invalid("plaintext and additional_authenticated_data together have at most 8 KiB")
	}
	res := &kmspb.EncryptResponse{Name: v.info.GetName(), ProtectionLevel: v.info.GetProtectionLevel()}
	if res.VerifiedPlaintextCrc32C, err = s.verify("plaintext", req.GetPlaintext(), req.GetPlaintextCrc32C()); err != nil {
		return nil, err
	}
	if res.VerifiedAdditionalAuthenticatedDataCrc32C, err = s.verify("additional_authenticated_data",
		req.GetAdditionalAuthenticatedData(), req.GetAdditionalAuthenticatedDataCrc32C()); err != nil {
		return nil, err
	}
	res.Ciphertext = slices.Concat(s.instance, gcm(v.aes).Seal(nil, nil, req.GetPlaintext(), req.GetAdditionalAuthenticatedData()))
	res.CiphertextCrc32C = wrapperspb.Int64(checksum(res.Ciphertext))
	return res, nil
}

// encrypting finds what a name means for Encrypt. While a change of the primary spreads,
// the former one may still be used: https://cloud.google.com/kms/docs/consistency
func (s service) encrypting(name string) (*cryptoKey, *keyVersion, error) {
	if strings.Contains(name, "/cryptoKeyVersions/") {
		return s.findVersion(name)
	}
	k, err := s.find(name)
	switch {
	case err != nil:
		return nil, nil, err
	case k.primary == 0:
		return nil, nil, precondition("%s has no primary version.", name)
	case k.encrypts > 0:
		k.encrypts--
		return k, k.versions[k.former-1], nil
	default:
		return k, k.versions[k.primary-1], nil
	}
}

// Decrypt takes the name of a key, and finds the version by itself. It says no more than
// that the request is wrong of a ciphertext that does not open, whyever:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/decrypt,
// https://cloud.google.com/kms/docs/additional-authenticated-data
func (s service) Decrypt(_ context.Context, req *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	if k.info.GetPurpose() != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		return nil, invalid("the purpose of %s is %s, not ENCRYPT_DECRYPT", k.info.GetName(), k.info.GetPurpose())
	}
	if _, err := s.verify("ciphertext", req.GetCiphertext(), req.GetCiphertextCrc32C()); err != nil {
		return nil, err
	}
	if _, err := s.verify("additional_authenticated_data", req.GetAdditionalAuthenticatedData(), req.GetAdditionalAuthenticatedDataCrc32C()); err != nil {
		return nil, err
	}
	rest, own := strings.CutPrefix(string(req.GetCiphertext()), string(s.instance))
	if !own {
		return nil, invalid("Decryption failed: the ciphertext is invalid.")
	}
	for i, v := range k.versions {
		plain, err := gcm(v.aes).Open(nil, nil, []byte(rest), req.GetAdditionalAuthenticatedData())
		if err != nil {
			continue
		}
		if v.info.GetState() != kmspb.CryptoKeyVersion_ENABLED {
			return nil, notEnabled(v)
		}
		return &kmspb.DecryptResponse{
			Plaintext: plain, PlaintextCrc32C: wrapperspb.Int64(checksum(plain)),
			UsedPrimary: i+1 == k.primary, ProtectionLevel: v.info.GetProtectionLevel(),
		}, nil
	}
	return nil, invalid("Decryption failed: verify that 'name' refers to the correct CryptoKey.")
}

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block) // the kind that FIPS mode lets be
	if err != nil {
		panic(err)
	}
	return aead
}
