package reencrypt

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

// Code says why a token or a file was left as it is. Codes are stable: scripts
// act on them. Beside the constants there is one per code of a key manager's
// provider, "provider_" and the code in lower case: "provider_unavailable".
type Code string

// The codes of tokens.
const (
	// Malformed: looks like a token and is none, or a truncated one.
	Malformed Code = "malformed"
	// UnknownKey: the store has no key of this name.
	UnknownKey Code = "unknown_key"
	// UnknownVersion: the key has no such version.
	UnknownVersion Code = "unknown_version"
	// State: the version's state does not allow decryption, or the key has no
	// version that encrypts.
	State Code = "state"
	// Authentication: the AAD differs, or the token was altered.
	Authentication Code = "authentication"
	// Integrity: the key's material does not match its record.
	Integrity Code = "integrity"
	// UsageLimit: the primary version reached its limit; rotate the key.
	UsageLimit Code = "usage_limit"
	// FIPS: the token's algorithm is not available in FIPS mode.
	FIPS Code = "fips"
	// Internal: any other failure of the keys.
	Internal Code = "internal"
)

// The codes of files.
const (
	// Binary: the file has NUL bytes, and tokens or what looks like some.
	Binary Code = "binary"
	// Changed: somebody else changed the file while it was being processed.
	Changed Code = "changed"
	// Permission: the operating system refused.
	Permission Code = "permission"
	// IO: anything else that went wrong with a file, a missing one included.
	IO Code = "io"
	// More: so many tokens of the file failed that not all of them are listed.
	More Code = "more"
)

// errChanged is what replacing a file fails with if it is no longer what was read.
var errChanged = errors.New("the file was changed by somebody else in the meantime; its content was left alone, run the command again")

// tokenFailure describes why the keys refused a token.
func tokenFailure(file string, line int, err error) Failure {
	f := Failure{File: file, Line: line, Code: tokenCode(err), Error: err.Error()}
	if f.Code == Authentication {
		f.Error += "; a token that was encrypted with an AAD needs the same one given with --aad"
	}
	return f
}

func tokenCode(err error) Code {
	var failed *provider.Error
	switch {
	case errors.Is(err, keyring.ErrMalformed):
		return Malformed
	case errors.Is(err, keyring.ErrUnknownKey):
		return UnknownKey
	case errors.Is(err, keyring.ErrUnknownVersion):
		return UnknownVersion
	case errors.Is(err, keyring.ErrState), errors.Is(err, keyring.ErrNoPrimary):
		return State
	case errors.Is(err, keyring.ErrAuthentication):
		return Authentication
	case errors.Is(err, keyring.ErrIntegrity):
		return Integrity
	case errors.Is(err, keyring.ErrUsageLimit):
		return UsageLimit
	case errors.Is(err, keyring.ErrFIPS):
		return FIPS
	case errors.As(err, &failed):
		return Code("provider_" + strings.ToLower(string(failed.Code)))
	default:
		return Internal
	}
}

// fileFailure describes why a file was left as it is.
func fileFailure(file string, err error) Failure {
	return Failure{File: file, Code: fileCode(err), Error: err.Error()}
}

func fileCode(err error) Code {
	switch {
	case errors.Is(err, errChanged):
		return Changed
	case errors.Is(err, fs.ErrPermission):
		return Permission
	default:
		return IO
	}
}

func binaryFailure(file string, tokens int) Failure {
	return Failure{File: file, Code: Binary, Error: fmt.Sprintf(
		"binary file (it has NUL bytes) with %d tokens, which stay as they are; save it as UTF-8 text, or decrypt and encrypt them one by one", tokens)}
}

// maxListed bounds what is listed of one file: a dump whose AAD was forgotten has
// as many failures as tokens.
const maxListed = 1000

// failures are those of the tokens of one file.
type failures struct {
	list []Failure
	more int
}

func (f *failures) add(failure Failure) {
	if len(f.list) == maxListed {
		f.more++
		return
	}
	f.list = append(f.list, failure)
}

// all answers what is listed, and last how many are not.
func (f *failures) all(file string) []Failure {
	if f.more == 0 {
		return f.list
	}
	return append(f.list, Failure{File: file, Code: More, Error: fmt.Sprintf(
		"%d more tokens of this file failed and are not listed; do what the messages before this one say, and run the command again", f.more)})
}
