package reencrypt

import "context"

// Keys is what this package needs of the keys; the engine provides it. Errors are
// those of core/keyring, and of core/provider where a key manager was asked. It
// is used by one goroutine at a time.
type Keys interface {
	// Reencrypt appends token, or its replacement under the key's primary version,
	// to dst. changed is false if the token is at the primary already; then it is
	// not even decrypted.
	Reencrypt(ctx context.Context, dst, token, aad []byte) (out []byte, changed bool, err error)
	// Versions lists the version numbers of a key; keyring.ErrUnknownKey.
	Versions(ctx context.Context, key string) ([]uint32, error)
}
