// Package keyring is what Keyrotor knows of keys: records and the legal moves
// between their states, the derivation that binds a version's secret to its place,
// the ciphertext formats, and the ring that holds opened versions in memory.
//
// A key is a name and a list of versions. Each version has a root, 32 random bytes
// that never leave memory in the clear: the store keeps only wraps of it, made by
// key-encryption keys (KEK) inside key managers. The cipher's key is derived from
// the root together with the store, key, version, format and algorithm, so a wrap
// or a ciphertext that is moved elsewhere opens nothing there, whatever the key
// manager or the database claims. One version is the primary and encrypts; older
// ones go on decrypting until they are destroyed.
//
// Nothing here does input or output: the engine fetches records from the store and
// roots from the key manager and puts them into a Ring.
package keyring
