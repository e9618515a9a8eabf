package history

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Entry is an event that has found its place in the log: all that a store keeps
// of it.
type Entry struct {
	// Event is the event with its Seq.
	Event Event
	// Bytes is the event encoded, once and for ever.
	Bytes []byte
	// First is the stored-hash index of Hashes[0], in tlog's dense numbering.
	First int64
	// Hashes are the leaf, then each subtree that this event completes.
	Hashes []tlog.Hash
}

// Leaf is the entry's leaf hash.
func (e Entry) Leaf() tlog.Hash { return e.Hashes[0] }

// Append gives the event the number after size, encodes it, and computes the
// hashes that a log of size events needs in order to grow by it. It reads at most
// log2(size) of the hashes that earlier entries stored.
func Append(size uint64, e Event, stored tlog.HashReader) (Entry, error) {
	e.Seq = size + 1
	b, err := e.Encode()
	if err != nil {
		return Entry{}, err
	}
	hashes, err := tlog.StoredHashes(int64(size), b, stored)
	if err != nil {
		return Entry{}, fmt.Errorf("history: append event %d: %w", e.Seq, err)
	}
	return Entry{
		Event:  e,
		Bytes:  b,
		First:  tlog.StoredHashIndex(0, int64(size)),
		Hashes: hashes,
	}, nil
}

// Root is the Merkle tree hash of the log's first size events. That of an empty
// log is the SHA-256 of nothing, as RFC 6962 has it.
func Root(size uint64, stored tlog.HashReader) (tlog.Hash, error) {
	root, err := tlog.TreeHash(int64(size), stored)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("history: root of %d events: %w", size, err)
	}
	return root, nil
}

// ErrNoEvent: no event has that number yet.
var ErrNoEvent = errors.New("no such event")

// Record is one event as the log has it, with the proof that it is part of it.
type Record struct {
	Seq uint64
	// Bytes are the event as stored, nil where retention has taken them.
	Bytes json.RawMessage
	// Leaf is the one that the tree has.
	Leaf tlog.Hash
	// Size and Root are those of the log that is asked about, and Proof leads from Leaf
	// to Root.
	Size  uint64
	Root  tlog.Hash
	Proof tlog.RecordProof
}

// Check verifies that the event, or the leaf that is left of it, is part of the log.
func (r Record) Check() error {
	if r.Bytes != nil && Leaf(r.Bytes) != r.Leaf {
		return fmt.Errorf("history: the bytes of event %d do not make the leaf that the log has: event or tree was edited", r.Seq)
	}
	if err := tlog.CheckRecord(r.Proof, int64(r.Size), r.Root, int64(r.Seq)-1, r.Leaf); err != nil {
		return fmt.Errorf("history: event %d is no part of the log with %d events and the root %v: %w", r.Seq, r.Size, r.Root, err)
	}
	return nil
}

// Extent is how much there is of a log.
type Extent struct {
	// Size counts every event that there ever was, and Root is the tree over them.
	Size uint64
	Root tlog.Hash
	// Pruned is the highest number up to which events may be missing.
	Pruned uint64
	// Events are those that are there, and Bytes what they take up.
	Events, Bytes uint64
}
