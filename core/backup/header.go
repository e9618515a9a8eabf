package backup

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Header is what a backup says of itself to anybody. It holds no secret and no name
// of a key. Nothing in it is proved before the backup was opened.
type Header struct {
	// ID is random, and the backup's own.
	ID keyring.KeyID
	// Store is the store that was copied.
	Store   keyring.StoreID
	Created time.Time
	// Writer is the build that wrote the backup.
	Writer string
	// Wraps are the root's, one by each provider; any of them opens the backup.
	Wraps []keyring.Wrap
	KCV   keyring.KCV
	// LogSize and LogRoot are those of the copy's history.
	LogSize uint64
	LogRoot tlog.Hash
	// Size of the copy in bytes.
	Size uint64
}

// maxSize bounds a copy, so that no arithmetic on it overflows.
const maxSize = 1 << 52

// content is what a backup holds a copy of: an SQLite database.
const content = "sqlite"

// document is the header as JSON. Its fields are final; fields are only added, and
// an older build passes over what it does not know.
type document struct {
	Format    int               `json:"format"`
	ID        string            `json:"backup_id"`
	Store     string            `json:"store_id"`
	Created   time.Time         `json:"created"`
	Writer    string            `json:"writer"`
	Content   string            `json:"content"`
	Algorithm keyring.Algorithm `json:"algorithm"`
	Wraps     []wrapDocument    `json:"wraps"`
	KCV       string            `json:"kcv"`
	LogSize   uint64            `json:"log_size"`
	LogRoot   string            `json:"log_root"`
	Size      uint64            `json:"size"`
}

type wrapDocument struct {
	Provider   string `json:"provider"`
	KEKID      string `json:"kek_id"`
	KEKVersion string `json:"kek_version"`
	Blob       []byte `json:"blob"`
}

// encode answers everything before the first chunk.
func (h Header) encode() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	d := document{
		Format: Format, ID: h.ID.String(), Store: h.Store.String(), Created: h.Created.UTC().Truncate(time.Microsecond),
		Writer: h.Writer, Content: content, Algorithm: algorithm, KCV: h.KCV.String(),
		LogSize: h.LogSize, LogRoot: base64.StdEncoding.EncodeToString(h.LogRoot[:]), Size: h.Size,
	}
	for _, w := range h.Wraps {
		d.Wraps = append(d.Wraps, wrapDocument{w.Provider, w.KEKID, w.KEKVersion, w.Blob})
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("backup: encode the header: %w", err)
	}
	if len(text) > maxHeader {
		return nil, fmt.Errorf("backup: the header has %d bytes, and may have %d", len(text), maxHeader)
	}
	head := append([]byte(magic), Format)
	head = binary.BigEndian.AppendUint32(head, uint32(len(text)))
	return append(head, text...), nil
}

// readHeader reads everything before the first chunk.
func readHeader(r io.Reader) (h Header, head []byte, err error) {
	head = make([]byte, preamble)
	n, err := io.ReadFull(r, head)
	short := ended(err, damaged("it ends before its header"))
	switch {
	case short != nil && !errors.Is(short, ErrDamaged):
		return Header{}, nil, err
	case n < len(magic) || string(head[:len(magic)]) != magic:
		return Header{}, nil, fmt.Errorf("%w: it does not begin with %q: name a file that `keyrotor backup create` made", ErrDamaged, magic)
	case short != nil:
		return Header{}, nil, short
	}
	if format := head[len(magic)]; format != Format {
		return Header{}, nil, fmt.Errorf("%w: the backup has format %d, and this build reads %d: use that build or a newer one", keyring.ErrNewer, format, Format)
	}
	size := binary.BigEndian.Uint32(head[len(magic)+1:])
	if size > maxHeader {
		return Header{}, nil, damaged("its header claims %d bytes, and may have %d", size, maxHeader)
	}
	head = slices.Concat(head, make([]byte, size))
	if _, err := io.ReadFull(r, head[preamble:]); err != nil {
		return Header{}, nil, ended(err, damaged("it ends within its header"))
	}
	if h, err = parseHeader(head[preamble:]); err != nil {
		return Header{}, nil, damaged("its header: %w", err)
	}
	return h, head, nil
}

func parseHeader(text []byte) (Header, error) {
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return Header{}, err
	}
	switch {
	case d.Format != Format:
		return Header{}, fmt.Errorf("it says format %d, and the file %d", d.Format, Format)
	case d.Content != content:
		return Header{}, fmt.Errorf("the content %.40q is unknown", d.Content)
	case d.Algorithm != algorithm:
		return Header{}, fmt.Errorf("the algorithm %.40q is unknown", d.Algorithm)
	}
	h := Header{Created: d.Created.UTC(), Writer: d.Writer, LogSize: d.LogSize, Size: d.Size}
	for _, w := range d.Wraps {
		h.Wraps = append(h.Wraps, keyring.Wrap{
			Provider: w.Provider, KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob, Created: h.Created,
		})
	}
	store, err := uuid.Parse(d.Store)
	h.Store = keyring.StoreID(store)
	err = errors.Join(err,
		exactly(h.ID[:], d.ID, hex.DecodeString),
		exactly(h.KCV[:], d.KCV, hex.DecodeString),
		exactly(h.LogRoot[:], d.LogRoot, base64.StdEncoding.DecodeString))
	if err != nil {
		return Header{}, err
	}
	return h, h.check()
}

// exactly decodes a text that fills dst.
func exactly(dst []byte, text string, decode func(string) ([]byte, error)) error {
	b, err := decode(text)
	if err == nil && copy(dst, b) != len(b) || len(b) != len(dst) {
		err = errors.Join(err, fmt.Errorf("%d bytes stand where %d belong", len(b), len(dst)))
	}
	return err
}

// check is what both sides hold a header to.
func (h Header) check() error {
	if h.Size < 1 || h.Size > maxSize {
		return fmt.Errorf("a copy of %d bytes", h.Size)
	}
	if len(h.Wraps) == 0 {
		return errors.New("no key manager wrapped its root")
	}
	seen := make(map[string]bool, len(h.Wraps))
	for _, w := range h.Wraps {
		if w.Provider == "" || len(w.Blob) == 0 || seen[w.Provider] {
			return fmt.Errorf("provider %.40q has an empty wrap, or two", w.Provider)
		}
		seen[w.Provider] = true
	}
	return nil
}

// ended answers what an unexpected end means; other errors are the reader's own.
func ended(err, meaning error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return meaning
	}
	return err
}
