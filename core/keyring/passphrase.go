package keyring

import (
	"crypto/fips140"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"golang.org/x/crypto/argon2"

	"github.com/keyrotor/keyrotor/core/secret"
)

// The lengths of a passphrase in bytes.
const (
	MinPassphrase = 12
	MaxPassphrase = 4096
)

// The functions that make a root from a passphrase.
const (
	KDFArgon2id = "argon2id"
	// KDFPBKDF2 is the one that FIPS 140 mode has.
	KDFPBKDF2 = "pbkdf2-hmac-sha256"
)

// KDF is how a root comes from a passphrase. It stands in the history beside the
// version, and it is no secret. But whoever has it together with the key check value
// can try passphrases, as fast as the function lets him: a passphrase is no better
// than its length.
type KDF struct {
	Name string
	Salt [16]byte
	// Time, Memory and Threads are Argon2id's: passes, KiB and lanes.
	Time, Memory uint32
	Threads      uint8
	// Iterations are PBKDF2's.
	Iterations uint32
}

// NewKDF draws a salt, and chooses the second recommended option of RFC 9106,
// section 4, or in FIPS 140 mode PBKDF2 with OWASP's minimum of iterations.
func NewKDF() KDF {
	k := KDF{Name: KDFArgon2id, Time: 3, Memory: 64 << 10, Threads: 4}
	if fips140.Enabled() {
		k = KDF{Name: KDFPBKDF2, Iterations: 600_000}
	}
	_, _ = rand.Read(k.Salt[:]) // never fails: it ends the process instead
	return k
}

// CheckPassphrase says whether a root may come from a passphrase: ErrWeak if it is too
// short, ErrMaterial if it is too long.
func CheckPassphrase(passphrase secret.Bytes) error {
	switch n := passphrase.Len(); {
	case n < MinPassphrase:
		return fmt.Errorf("%w: a passphrase of %d bytes; use %d or more: whoever reads the database can try passphrases, and only length stops that", ErrWeak, n, MinPassphrase)
	case n > MaxPassphrase:
		return fmt.Errorf("%w: a passphrase of over %d bytes", ErrMaterial, MaxPassphrase)
	}
	return nil
}

// Root derives the root. The passphrase stays the caller's to wipe. ErrWeak if it is
// too short, ErrMaterial if it is too long or the function is none, ErrFIPS if it is not
// available.
func (k KDF) Root(passphrase secret.Bytes) (Root, error) {
	if err := CheckPassphrase(passphrase); err != nil {
		return Root{}, err
	}
	switch usable := k.Time > 0 && k.Threads > 0; {
	case k.Name == KDFArgon2id && usable && fips140.Enabled():
		return Root{}, fmt.Errorf("%w: Argon2id", ErrFIPS)
	case k.Name == KDFArgon2id && usable:
		return NewRoot(argon2.IDKey(passphrase.Reveal(), k.Salt[:], k.Time, k.Memory, k.Threads, RootSize))
	case k.Name == KDFPBKDF2 && k.Iterations > 0:
		b, err := pbkdf2.Key(sha256.New, string(passphrase.Reveal()), k.Salt[:], int(k.Iterations), RootSize)
		if err != nil {
			return Root{}, fmt.Errorf("keyring: derive a root from a passphrase: %w", err)
		}
		return NewRoot(b)
	}
	return Root{}, fmt.Errorf("%w: nothing can be derived by %+v", ErrMaterial, k)
}

// What a function read from a history may ask for at most: whoever can edit the database
// must not make this process run out of memory or time.
const (
	maxKDFTime       = 16
	maxKDFMemory     = 1 << 20
	maxKDFIterations = 10_000_000
)

// ParseKDF reads what Details says. The error is ErrMaterial, also if details are not
// those of a version that was made from a passphrase.
func ParseKDF(details map[string]string) (KDF, error) {
	k := KDF{Name: details["kdf"]}
	salt, err := hex.DecodeString(details["kdf.salt"])
	if k.Name == "" || err != nil || len(salt) != len(k.Salt) {
		return KDF{}, fmt.Errorf("%w: the details name no function that makes a root from a passphrase, or no salt", ErrMaterial)
	}
	copy(k.Salt[:], salt)
	read := func(name string, bits int) uint64 {
		text, ok := details[name]
		if !ok || err != nil {
			return 0
		}
		var n uint64
		n, err = strconv.ParseUint(text, 10, bits)
		return n
	}
	k.Time, k.Memory = uint32(read("kdf.time", 32)), uint32(read("kdf.memory_kib", 32))
	k.Threads, k.Iterations = uint8(read("kdf.threads", 8)), uint32(read("kdf.iterations", 32))
	if err != nil || k.Time > maxKDFTime || k.Memory > maxKDFMemory || k.Iterations > maxKDFIterations {
		return KDF{}, fmt.Errorf("%w: the details of %s are no numbers, or higher ones than any build writes", ErrMaterial, k.Name)
	}
	return k, nil
}

// Details is the function as a creation event tells it. The names are final.
func (k KDF) Details() map[string]string {
	details := map[string]string{"kdf": k.Name, "kdf.salt": hex.EncodeToString(k.Salt[:])}
	for name, n := range map[string]uint32{
		"kdf.time": k.Time, "kdf.memory_kib": k.Memory, "kdf.threads": uint32(k.Threads), "kdf.iterations": k.Iterations,
	} {
		if n > 0 {
			details[name] = strconv.FormatUint(uint64(n), 10)
		}
	}
	return details
}
