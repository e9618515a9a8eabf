package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// Source is the copy of a store that goes into a backup.
type Source struct {
	Store keyring.StoreID
	// Content is read to its end, which comes after Size bytes.
	Content io.Reader
	Size    uint64
	LogSize uint64
	LogRoot tlog.Hash
	// Writer names this build.
	Writer string
}

// Write draws a root, has each of the providers wrap it, and writes the backup. With
// an error, what was written is none.
func Write(ctx context.Context, w io.Writer, s Source, wrapper wrapping.Wrapper, providers []string) (Header, error) {
	if len(providers) == 0 {
		return Header{}, errors.New("backup: no provider to wrap it with")
	}
	id := keyring.KeyID(uuid.New())
	m, err := wrapper.Make(ctx, binding(s.Store, id), providers, keyring.Root{})
	defer m.Root.Wipe()
	if err != nil {
		return Header{}, err
	}
	h := Header{
		ID: id, Store: s.Store, Created: wrapper.Now().UTC().Truncate(time.Microsecond), Writer: s.Writer,
		Wraps: m.Wraps, KCV: m.KCV, LogSize: s.LogSize, LogRoot: s.LogRoot, Size: s.Size,
	}
	for i := range h.Wraps {
		h.Wraps[i].Created = h.Created // as a reader sees them
	}
	return h, write(ctx, w, h, m.Root, s.Content)
}

func write(ctx context.Context, w io.Writer, h Header, root keyring.Root, copied io.Reader) error {
	head, err := h.encode()
	if err != nil {
		return err
	}
	c, err := newChunks(root, h, head)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	piece := make([]byte, ChunkSize)
	defer clear(piece)
	var chunk []byte
	for c.size() > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.ReadFull(copied, piece[:c.size()]); err != nil {
			return fmt.Errorf("backup: read the copy of the store: %w", err)
		}
		chunk, err = c.seal(append(chunk[:0], 0, 0, 0, 0), piece[:c.size()])
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(chunk, uint32(len(chunk)-4))
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	if n, err := io.ReadFull(copied, piece[:1]); n > 0 || !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("backup: the copy of the store has more than %d bytes", h.Size), err)
	}
	return nil
}
