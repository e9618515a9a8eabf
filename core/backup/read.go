package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// Backup is a backup whose header was read.
type Backup struct {
	Header Header
	head   []byte
	src    io.Reader
}

// Read reads the header; no key manager is asked. ErrDamaged, or keyring.ErrNewer.
func Read(r io.Reader) (*Backup, error) {
	h, head, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	return &Backup{Header: h, head: head, src: r}, nil
}

// Open opens the root with the first of its providers that can, and answers the copy
// of the store. Each byte of it is authentic when it comes, and io.EOF says that it
// was whole; ErrDamaged that it is not. Once only.
func (b *Backup) Open(ctx context.Context, keyManager func(name string) (wrapping.KeyManager, error)) (io.Reader, error) {
	root, err := b.unwrap(ctx, keyManager)
	if err != nil {
		return nil, err
	}
	defer root.Wipe()
	c, err := newChunks(root, b.Header, b.head)
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, src: b.src, chunks: c}, nil
}

func (b *Backup) unwrap(ctx context.Context, keyManager func(name string) (wrapping.KeyManager, error)) (keyring.Root, error) {
	h := b.Header
	var errs []error
	var names []string
	for _, w := range h.Wraps {
		names = append(names, fmt.Sprintf("%q with %q", w.Provider, w.KEKID))
		km, err := keyManager(w.Provider)
		if err == nil {
			var root keyring.Root
			if root, err = wrapping.Open(ctx, km, binding(h.Store, h.ID), w, h.KCV); err == nil {
				return root, nil
			}
		}
		errs = append(errs, err)
	}
	return keyring.Root{}, fmt.Errorf("no key manager opens backup %s, which was wrapped by provider %s: %w",
		h.ID, strings.Join(names, ", "), errors.Join(errs...))
}

// reader is the copy of the store, out of its chunks.
type reader struct {
	ctx    context.Context //nolint:containedctx // io.Reader has no other place for it
	src    io.Reader
	chunks *chunks
	chunk  []byte
	piece  []byte // of the copy
	rest   []byte // of piece, not yet handed out
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.err = r.next()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next opens the next chunk. After the last one it answers io.EOF, if the file ends
// there too.
func (r *reader) next() error {
	clear(r.piece)
	r.piece = r.piece[:0]
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.chunks.size() == 0 {
		return r.end()
	}
	early := damaged("it ends within chunk %d", r.chunks.index+1)
	var length [4]byte
	if _, err := io.ReadFull(r.src, length[:]); err != nil {
		return ended(err, early)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxChunk {
		return damaged("chunk %d claims %d bytes, and may have %d", r.chunks.index+1, n, maxChunk)
	}
	if r.chunk == nil {
		r.chunk = make([]byte, min(r.chunks.size()+maxChunk-ChunkSize, maxChunk))
	}
	if int(n) > len(r.chunk) {
		return damaged("chunk %d claims %d bytes, which is more than is left", r.chunks.index+1, n)
	}
	if _, err := io.ReadFull(r.src, r.chunk[:n]); err != nil {
		return ended(err, early)
	}
	piece, err := r.chunks.open(r.piece, r.chunk[:n])
	if err != nil {
		return err
	}
	r.piece, r.rest = piece, piece
	return nil
}

func (r *reader) end() error {
	var more [1]byte
	n, err := io.ReadFull(r.src, more[:])
	switch {
	case n > 0:
		return damaged("something follows its last chunk")
	default:
		return err // io.EOF, if all is well
	}
}
