package awskmsfake

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
)

// The limits of sizes (API_Encrypt, API_Decrypt, API_GenerateDataKey).
const mostPlain, mostCipher, mostDataKey = 4096, 6144, 1024

// usable answers the key for a cryptographic operation, which takes an alias too.
func (c *call) usable(name, action string, encryptionContext map[string]string) (*key, *apiError) {
	k, err := c.resolve(name)
	if err != nil {
		return nil, err
	}
	if err := c.may(action, k.arn(), encryptionContext); err != nil {
		return nil, err
	}
	if err := k.needs(enabled); err != nil {
		return nil, err
	}
	if k.spec != "SYMMETRIC_DEFAULT" || k.usage != "ENCRYPT_DECRYPT" {
		return nil, refuse("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", k.arn(), k.usage, c.op)
	}
	return k, nil
}

// dry ends a dry run that would have succeeded (page: testing-permissions).
func dry(in *input) *apiError {
	if !in.DryRun {
		return nil
	}
	return &apiError{code: "DryRunOperationException", status: 412, message: "The request would have succeeded, but the DryRun option is set."}
}

func sized(what string, n, most int) *apiError {
	if n < 1 || n > most {
		return refuse("ValidationException", "%s has %d bytes, and 1 to %d are allowed", what, n, most)
	}
	return nil
}

func (c *call) encrypt(in *input) (any, *apiError) { // API_Encrypt: the answer names no key material
	k, err := c.usable(in.KeyID, "Encrypt", in.EncryptionContext)
	if err == nil {
		err = sized("the Plaintext", len(in.Plaintext), mostPlain)
	}
	if err == nil {
		err = dry(in)
	}
	if err != nil {
		return nil, err
	}
	return object{"KeyId": k.arn(), "CiphertextBlob": k.seal(in.Plaintext, in.EncryptionContext), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, nil
}

func (c *call) generateDataKey(in *input) (any, *apiError) { // API_GenerateDataKey: KeySpec or NumberOfBytes, not both
	k, err := c.usable(in.KeyID, "GenerateDataKey", in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	size := map[string]int{"AES_256": 32, "AES_128": 16}[in.KeySpec]
	if in.NumberOfBytes != nil {
		if in.KeySpec != "" {
			return nil, refuse("ValidationException", "Please specify either number of bytes or key spec.")
		}
		size = *in.NumberOfBytes
	}
	if err := sized("the data key", size, mostDataKey); err != nil {
		return nil, err
	}
	if err := dry(in); err != nil {
		return nil, err
	}
	plain := randomBytes(size)
	out := object{"KeyId": k.arn(), "Plaintext": plain, "CiphertextBlob": k.seal(plain, in.EncryptionContext)}
	k.name(out, "KeyMaterialId", k.current())
	return out, nil
}

func (c *call) decrypt(in *input) (any, *apiError) { // API_Decrypt
	k, plain, m, err := c.open(in, in.KeyID, "Decrypt", in.EncryptionContext)
	if err == nil {
		err = dry(in)
	}
	if err != nil {
		return nil, err
	}
	out := object{"KeyId": k.arn(), "Plaintext": plain, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
	k.name(out, "KeyMaterialId", m)
	return out, nil
}

func (c *call) reEncrypt(in *input) (any, *apiError) { // API_ReEncrypt: two permissions, on two keys
	from, plain, m, err := c.open(in, in.SourceKeyID, "ReEncryptFrom", in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	to, err := c.usable(in.DestinationKeyID, "ReEncryptTo", in.DestinationEncryptionContext)
	if err == nil {
		err = dry(in)
	}
	if err != nil {
		return nil, err
	}
	out := object{
		"SourceKeyId": from.arn(), "KeyId": to.arn(), "CiphertextBlob": to.seal(plain, in.DestinationEncryptionContext),
		"SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT", "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
	}
	from.name(out, "SourceKeyMaterialId", m)
	to.name(out, "DestinationKeyMaterialId", to.current())
	return out, nil
}

func (k *key) name(out object, field string, m material) {
	if !k.unnamed {
		out[field] = m.id
	}
}

// The form of a ciphertext is AWS's secret. This one has what is known of it: it says
// by which key it was made, and with which key material.
const magic, materialSize = 0xA5, 64

func (k *key) seal(plain []byte, encryptionContext map[string]string) []byte {
	m := k.current()
	head := append([]byte{magic, byte(len(k.id))}, k.id...)
	return m.aead().Seal(append(head, m.id...), nil, plain, bound(k.id, encryptionContext))
}

// bound is what a ciphertext is authenticated with: the encryption context, in which the
// order of pairs does not matter (page: encrypt_context).
func bound(id string, encryptionContext map[string]string) []byte {
	text, err := json.Marshal(struct { // maps are sorted
		ID      string
		Context map[string]string
	}{id, encryptionContext})
	if err != nil {
		panic(err) // strings
	}
	return text
}

func (m material) aead() cipher.AEAD {
	block, err := aes.NewCipher(m.secret)
	if err != nil {
		panic(err) // 32 bytes
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block) // the kind that FIPS mode lets be
	if err != nil {
		panic(err)
	}
	return gcm
}

// open decrypts. Without a key's name it is the ciphertext that tells; with one it must be
// the same (IncorrectKeyException).
func (c *call) open(in *input, name, action string, encryptionContext map[string]string) (*key, []byte, material, *apiError) {
	var none material
	if err := sized("the CiphertextBlob", len(in.CiphertextBlob), mostCipher); err != nil {
		return nil, nil, none, err
	}
	invalid := refuse("InvalidCiphertextException", "")
	id, materialID, sealed, ok := parse(in.CiphertextBlob)
	if name == "" && ok {
		name = id
	}
	if name == "" {
		return nil, nil, none, invalid
	}
	k, err := c.usable(name, action, encryptionContext)
	switch {
	case err != nil:
		return nil, nil, none, err
	case !ok:
		return nil, nil, none, invalid
	case id != k.id && c.keys[place{c.region, id}] != nil:
		return nil, nil, none, refuse("IncorrectKeyException",
			"The key ID in the request does not identify a CMK that can perform this operation.")
	}
	for _, m := range k.materials {
		if m.id != materialID {
			continue
		}
		plain, err := m.aead().Open(nil, nil, sealed, bound(id, encryptionContext))
		if err != nil {
			return nil, nil, none, invalid
		}
		return k, plain, m, nil
	}
	return nil, nil, none, invalid
}

func parse(blob []byte) (id, materialID string, sealed []byte, ok bool) {
	if len(blob) < 2 || blob[0] != magic {
		return "", "", nil, false
	}
	n := 2 + int(blob[1])
	if len(blob) < n+materialSize {
		return "", "", nil, false
	}
	return string(blob[2:n]), string(blob[n : n+materialSize]), blob[n+materialSize:], true
}
