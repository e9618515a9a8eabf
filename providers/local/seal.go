package local

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime/debug"

	"golang.org/x/crypto/argon2"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	keySize = 32
	// sealedSize is a key under AES-256-GCM: nonce, ciphertext, tag.
	sealedSize = 12 + keySize + 16
	saltSize   = 16

	kdfArgon2id = "argon2id"
	kdfPBKDF2   = "pbkdf2-hmac-sha256"
)

// What a file may ask for. A file is only read after its owner was trusted with
// the path, but a damaged or hostile one must not take the machine down.
const (
	maxArgonTime        = 16
	maxArgonMemory      = 256 << 10 // KiB
	maxArgonThreads     = 16
	maxPBKDF2Iterations = 10_000_000
)

// costs are the parameters that new files are sealed with.
type costs struct {
	argonTime, argonMemory, argonThreads uint32
	pbkdf2Iterations                     uint32
}

// defaultCosts is the second recommended option of RFC 9106, section 4, and for
// PBKDF2 the OWASP minimum.
func defaultCosts() costs {
	return costs{argonTime: 3, argonMemory: 64 << 10, argonThreads: 4, pbkdf2Iterations: 600_000}
}

// sealParams is how the seal's keys come from the passphrase, as in the file.
type sealParams struct {
	KDF  string `json:"kdf"`
	Salt []byte `json:"salt"`
	// Argon2id: passes, KiB, lanes.
	Time    uint32 `json:"time,omitempty"`
	Memory  uint32 `json:"memory,omitempty"`
	Threads uint32 `json:"threads,omitempty"`
	// PBKDF2.
	Iterations uint32 `json:"iterations,omitempty"`
	// Check comes from the passphrase too, and tells a wrong one from an altered file.
	Check []byte `json:"check"`
}

func newSealParams(c costs) sealParams {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails, says crypto/rand
	if fips140.Enabled() {
		return sealParams{KDF: kdfPBKDF2, Salt: salt, Iterations: c.pbkdf2Iterations}
	}
	return sealParams{
		KDF: kdfArgon2id, Salt: salt,
		Time: c.argonTime, Memory: c.argonMemory, Threads: c.argonThreads,
	}
}

// bind is what the sealing of each KEK authenticates of the parameters.
func (p *sealParams) bind() []byte {
	return lengthPrefixed([]byte(p.KDF), p.Salt, u32(p.Time), u32(p.Memory), u32(p.Threads), u32(p.Iterations))
}

func (p *sealParams) same(q *sealParams) bool {
	return bytes.Equal(p.bind(), q.bind())
}

func (p *sealParams) validate() error {
	if len(p.Salt) != saltSize || len(p.Check) != sha256.Size {
		return corruptError("the seal has a salt of %d and a check of %d bytes", len(p.Salt), len(p.Check))
	}
	switch p.KDF {
	case kdfArgon2id:
		return p.validateArgon2id()
	case kdfPBKDF2:
		return p.validatePBKDF2()
	default:
		return provider.Errorf(provider.Unsupported, "%w: it is sealed by %q, which this build does not know: "+
			"use a newer build", ErrFormatVersion, p.KDF)
	}
}

func (p *sealParams) validateArgon2id() error {
	if p.Time > maxArgonTime || p.Memory > maxArgonMemory || p.Threads > maxArgonThreads {
		return provider.Errorf(provider.LimitExceeded, "%w: Argon2id with %d passes over %d KiB in %d lanes; "+
			"the most is %d, %d and %d", ErrSealLimits, p.Time, p.Memory, p.Threads,
			maxArgonTime, maxArgonMemory, maxArgonThreads)
	}
	if p.Time == 0 || p.Threads == 0 || p.Memory < 8*p.Threads || p.Iterations != 0 {
		return corruptError("the seal's parameters are none of Argon2id")
	}
	return nil
}

func (p *sealParams) validatePBKDF2() error {
	if p.Iterations > maxPBKDF2Iterations {
		return provider.Errorf(provider.LimitExceeded, "%w: PBKDF2 with %d iterations; the most is %d",
			ErrSealLimits, p.Iterations, maxPBKDF2Iterations)
	}
	if p.Iterations == 0 || p.Time != 0 || p.Memory != 0 || p.Threads != 0 {
		return corruptError("the seal's parameters are none of PBKDF2")
	}
	return nil
}

// sealer holds the keys that a passphrase opens: one seals KEKs, one
// authenticates the file.
type sealer struct {
	params sealParams
	seal   provider.Secret
	mac    provider.Secret
	// check is what params.Check must be.
	check []byte
}

// newSealer derives the keys. The parameters must be valid; Check need not be
// set, and is not compared here.
func newSealer(p sealParams, pass provider.Secret) (*sealer, error) {
	master, err := p.derive(pass)
	if err != nil {
		return nil, err
	}
	defer clear(master)
	var keys [3][]byte
	for i, purpose := range []string{"seal", "mac", "check"} {
		keys[i], err = hkdf.Expand(sha256.New, master, "keyrotor/local-kek/v1/"+purpose, keySize)
		if err != nil {
			return nil, provider.Errorf(provider.Internal, "deriving the seal's keys: %w", err)
		}
	}
	return &sealer{
		params: p,
		seal:   provider.NewSecret(keys[0]),
		mac:    provider.NewSecret(keys[1]),
		check:  keys[2],
	}, nil
}

func (p *sealParams) derive(pass provider.Secret) ([]byte, error) {
	if p.KDF == kdfPBKDF2 {
		key, err := pbkdf2.Key(sha256.New, string(pass.Reveal()), p.Salt, int(p.Iterations), keySize)
		if err != nil {
			return nil, provider.Errorf(provider.Internal, "PBKDF2: %w", err)
		}
		return key, nil
	}
	if fips140.Enabled() {
		return nil, provider.Errorf(provider.Unsupported, "%w: create another KEK file in FIPS 140 mode, "+
			"which seals with PBKDF2, and wrap the keys with that", ErrFIPS)
	}
	key := argon2.IDKey(pass.Reveal(), p.Salt, p.Time, p.Memory, uint8(p.Threads), keySize)
	// It runs once in the life of a plugin, and its working memory is several
	// times that of an idle plugin: give it back now, not in some minutes.
	debug.FreeOSMemory()
	return key, nil
}

func (s *sealer) wipe() {
	s.seal.Wipe()
	s.mac.Wipe()
	clear(s.check)
}

// sum authenticates the file's content.
func (s *sealer) sum(content []byte) []byte {
	h := hmac.New(sha256.New, s.mac.Reveal())
	h.Write(lengthPrefixed([]byte(macDomain), content))
	return h.Sum(nil)
}

func (s *sealer) sealKey(id fileID, version uint32, key provider.Secret) ([]byte, error) {
	aead, err := newAEAD(s.seal)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, key.Reveal(), s.aad(id, version)), nil //nolint:gosec // the AEAD draws the nonce
}

func (s *sealer) openKey(id fileID, version uint32, sealed []byte) (provider.Secret, error) {
	aead, err := newAEAD(s.seal)
	if err != nil {
		return provider.Secret{}, err
	}
	key, err := aead.Open(nil, nil, sealed, s.aad(id, version))
	if err != nil {
		return provider.Secret{}, provider.Errorf(provider.Integrity,
			"%w: its KEK version %d does not open: restore it from a backup", ErrTampered, version)
	}
	return provider.NewSecret(key), nil
}

func (s *sealer) aad(id fileID, version uint32) []byte {
	return lengthPrefixed([]byte("keyrotor/local-kek/v1"), id[:], u32(version), s.params.bind())
}

// newAEAD is AES-256-GCM in the form that FIPS 140 mode allows: it draws the
// nonce itself and puts it before the ciphertext.
func newAEAD(key provider.Secret) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, provider.Errorf(provider.Internal, "%w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, provider.Errorf(provider.Internal, "%w", err)
	}
	return aead, nil
}

func newKey() provider.Secret {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails, says crypto/rand
	return provider.NewSecret(key)
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// lengthPrefixed joins parts, each after its length as u32, so that no two lists
// of parts give the same bytes.
func lengthPrefixed(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(append(out, u32(uint32(len(p)))...), p...)
	}
	return out
}
