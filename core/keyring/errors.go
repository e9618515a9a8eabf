package keyring

import "errors"

// The errors of this package. Those that decryption answers are told apart
// because each has another remedy; a wrong AAD and an altered ciphertext are one
// error, because nobody can tell them apart.
var (
	// ErrInvalidName: the key name has another form than allowed.
	ErrInvalidName = errors.New("invalid key name")
	// ErrMalformed: not a ciphertext of ours, or a truncated one.
	ErrMalformed = errors.New("malformed ciphertext")
	// ErrUnknownKey: the store has no such key.
	ErrUnknownKey = errors.New("unknown key")
	// ErrUnknownVersion: the key has no such version.
	ErrUnknownVersion = errors.New("unknown key version")
	// ErrState: the version's state, or the key's minimum decryption version,
	// does not allow this.
	ErrState = errors.New("not allowed in this state")
	// ErrNoPrimary: the key has no version that encrypts.
	ErrNoPrimary = errors.New("key has no primary version")
	// ErrAuthentication: another AAD than at encryption, altered bytes, or a token of
	// another store's key of the same name.
	ErrAuthentication = errors.New("authentication failed: the ciphertext was altered, its AAD differs, or it is another store's")
	// ErrIntegrity: an unwrapped root does not match its key check value, or a
	// record its digest.
	ErrIntegrity = errors.New("integrity check failed")
	// ErrNewer: written by a newer build, in a form that this one does not know.
	ErrNewer = errors.New("written by a newer build of Keyrotor")
	// ErrTooLarge: the value is over MaxPlaintext.
	ErrTooLarge = errors.New("value too large")
	// ErrUsageLimit: the version reached its hard limit of uses.
	ErrUsageLimit = errors.New("usage limit of the key version reached")
	// ErrLabel: the version cannot have the label.
	ErrLabel = errors.New("not a label for this version")
	// ErrMaterial: no key in any form that can be imported.
	ErrMaterial = errors.New("not a key")
	// ErrWeak: key material that somebody could guess.
	ErrWeak = errors.New("too weak to be a key")
	// ErrFIPS: the algorithm is not available in FIPS mode.
	ErrFIPS = errors.New("not available in FIPS 140 mode")
)
