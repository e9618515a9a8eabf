package local

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/keyrotor/keyrotor/core/provider"
)

// What can be wrong with the file or its passphrase. Each has a remedy of its own,
// so each is an error of its own; it arrives wrapped in a [provider.Error], whose
// code is what crosses the process boundary.
var (
	// ErrMissing (NotFoundKey): there is no file at the path.
	ErrMissing = errors.New("the KEK file does not exist")
	// ErrExists (AlreadyExists): CreateKey found something at the path.
	ErrExists = errors.New("the KEK file exists already")
	// ErrNotRegular (InvalidConfig): a symbolic link, a folder or a device.
	ErrNotRegular = errors.New("the KEK file is not a regular file")
	// ErrPermissions (InvalidConfig): group or others may access the file.
	ErrPermissions = errors.New("the KEK file is open to other users")
	// ErrCorrupt (Integrity): truncated or altered, by accident it seems.
	ErrCorrupt = errors.New("the KEK file is damaged")
	// ErrTampered (Integrity): the passphrase is right and the file was changed
	// by somebody who does not have it.
	ErrTampered = errors.New("the KEK file was tampered with")
	// ErrNotKEKFile (InvalidConfig): some other JSON file.
	ErrNotKEKFile = errors.New("not a KEK file of the local provider")
	// ErrFormatVersion (Unsupported): a newer build wrote it.
	ErrFormatVersion = errors.New("unknown format version of the KEK file")
	// ErrSealLimits (LimitExceeded): deriving its key would take too much memory or time.
	ErrSealLimits = errors.New("the seal of the KEK file costs more than is allowed")
	// ErrPassphraseRequired (Unauthenticated): a sealed file, and no passphrase.
	ErrPassphraseRequired = errors.New("the KEK file is sealed and no passphrase is configured")
	// ErrPassphraseUnexpected (InvalidConfig): a passphrase, and a file that it
	// does not protect. Going on would let its owner believe that it does.
	ErrPassphraseUnexpected = errors.New("a passphrase is configured and the KEK file is not sealed")
	// ErrWrongPassphrase (Unauthenticated): another passphrase than it was sealed with.
	ErrWrongPassphrase = errors.New("wrong passphrase for the KEK file")
	// ErrFIPS (Unsupported): sealed with Argon2id, which FIPS 140 mode has not.
	ErrFIPS = errors.New("the KEK file is sealed with Argon2id, which is not available in FIPS 140 mode")
	// ErrPlatform (Unsupported): no file modes and locks as Unix has them.
	ErrPlatform = errors.New("the local provider needs a Unix system")
)

func configError(attribute, format string, args ...any) error {
	e := provider.Errorf(provider.InvalidConfig, format, args...)
	e.Attribute = attribute
	return e
}

func missingError(path string) error {
	return provider.Errorf(provider.NotFoundKey, "%w: %s: if it was there before, restore it, for nothing else opens its wraps; "+
		"else run `keyrotor kek create NAME`, NAME being this provider's name in the config file", ErrMissing, path)
}

func corruptError(format string, args ...any) error {
	return provider.Errorf(provider.Integrity, "%w: %s: restore it from a backup",
		ErrCorrupt, fmt.Sprintf(format, args...))
}

// ioError is for what the operating system refused; its own error names the call
// and the path.
func ioError(err error) error {
	if errors.Is(err, ErrPlatform) {
		return provider.Errorf(provider.Unsupported, "%w", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return provider.Errorf(provider.Denied, "%w", err)
	}
	return provider.Errorf(provider.Unavailable, "%w", err)
}
