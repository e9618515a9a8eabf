// Package backup is the form of a backup: a copy of the store, encrypted under a
// root of its own. Key managers wrap that root as they wrap those of key versions,
// so whoever has the file alone learns nothing but where it comes from, and nobody
// without a key manager makes one that is believed.
//
// A file is
//
//	"KRBACKUP" ‖ format (1 byte) ‖ length of the header (u32) ‖ header ‖ chunks
//
// The header is JSON that anybody can read, see [Header]. Each chunk is its length
// (u32) and a binary ciphertext of the next [ChunkSize] bytes of the copy, of fewer
// in the last one. Its AAD is "keyrotor/backup/v1", the SHA-256 of everything before
// the first chunk, the chunk's index (u64), and whether it is the last (1 byte).
// Numbers are big-endian. So a chunk that was altered, moved, left out or taken from
// another backup does not open, nor does any of them under an edited header, and a
// file that ends early or goes on shows.
//
// Reading and writing are streams in constant memory.
package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// ErrDamaged: no backup, or not as it was written.
var ErrDamaged = errors.New("not an intact backup")

const (
	magic = "KRBACKUP"
	// Format is the newest that this build knows, and the one that it writes.
	Format = 1
	// ChunkSize is the number of bytes of the copy in every chunk but the last.
	ChunkSize = 1 << 20
	// preamble is the length of magic, format and the header's length.
	preamble = len(magic) + 1 + 4
	// maxHeader and maxChunk bound what a file can make its reader allocate.
	maxHeader = 1 << 20
	maxChunk  = ChunkSize + 64
	// rootVersion stands in the binding of a backup's root, and in its chunks.
	rootVersion = 1
)

// algorithm of all backups: the one that FIPS 140 mode allows, too.
const algorithm = keyring.AES256GCM

// binding is what a backup's root is bound to. Its id stands where that of a key
// stands otherwise, and is as random.
func binding(store keyring.StoreID, id keyring.KeyID) keyring.Binding {
	return keyring.Binding{Store: store, Key: id, Version: rootVersion, Algorithm: algorithm}
}

// chunks knows how a backup's copy is cut, and what binds each piece to its place.
type chunks struct {
	cipher *keyring.Cipher
	id     keyring.KeyID
	index  uint64
	left   uint64 // bytes of the copy that are not yet in a chunk
	aad    []byte
}

const aadPurpose = "keyrotor/backup/v1"

// newChunks begins with the first chunk. head is everything before it.
func newChunks(root keyring.Root, h Header, head []byte) (*chunks, error) {
	c, err := keyring.NewCipher(root, binding(h.Store, h.ID), "backup")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(head)
	return &chunks{cipher: c, id: h.ID, left: h.Size, aad: append([]byte(aadPurpose), sum[:]...)}, nil
}

// size is that of the next piece of the copy, 0 if there is none.
func (c *chunks) size() int { return int(min(c.left, ChunkSize)) }

// bound is the AAD of the next chunk.
func (c *chunks) bound() []byte {
	last := byte(0)
	if c.left <= ChunkSize {
		last = 1
	}
	return append(binary.BigEndian.AppendUint64(c.aad, c.index), last)
}

// advance goes on to the chunk after the next one.
func (c *chunks) advance() {
	c.left -= uint64(c.size())
	c.index++
}

// seal appends the next chunk, which holds piece.
func (c *chunks) seal(dst, piece []byte) ([]byte, error) {
	dst, err := c.cipher.AppendBinary(dst, piece, c.bound())
	if err == nil {
		c.advance()
	}
	return dst, err
}

// open appends the piece of the copy that the next chunk holds. What its own header
// says is not covered by the cipher, so it is compared.
func (c *chunks) open(dst, sealed []byte) ([]byte, error) {
	parsed, err := keyring.ParseBinary(sealed)
	ours := err == nil && parsed.KeyPrefix() == c.id.Prefix() && parsed.Version() == rootVersion
	if ours {
		dst, err = c.cipher.OpenBinary(dst, parsed, c.bound())
	}
	if !ours || err != nil || len(dst) != c.size() {
		return dst, damaged("chunk %d was altered, or belongs elsewhere", c.index+1)
	}
	c.advance()
	return dst, nil
}

// damaged is ErrDamaged, what is wrong, and what to do.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w: use another backup", ErrDamaged, fmt.Errorf(format, args...))
}
