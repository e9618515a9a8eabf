package history

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the Merkle tree of a log, made anew from the bytes of its events, to
// compare what is stored with; from the leaf, where retention has taken the bytes. The zero Tree is that of an empty log. It keeps no
// more than the right edge, so a log of any length goes through it.
type Tree struct {
	size uint64
	// edge are the complete subtrees that make up the tree, the largest first.
	edge []tlog.Hash
}

// Append adds the next event, and answers its leaf and each subtree that it
// completes, as [Entry.Hashes] has them.
func (t *Tree) Append(b []byte) []tlog.Hash { return t.AppendLeaf(Leaf(b)) }

// AppendLeaf is Append of an event of which only the leaf is left.
func (t *Tree) AppendLeaf(h tlog.Hash) []tlog.Hash {
	completed := []tlog.Hash{h}
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		h = tlog.NodeHash(t.edge[last], h)
		t.edge = t.edge[:last]
		completed = append(completed, h)
	}
	t.edge = append(t.edge, h)
	t.size++
	return completed
}

// Size is the number of events.
func (t *Tree) Size() uint64 { return t.size }

// Root is the tree hash, see [Root].
func (t *Tree) Root() tlog.Hash {
	if len(t.edge) == 0 {
		return sha256.Sum256(nil)
	}
	last := len(t.edge) - 1
	root := t.edge[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(t.edge[i], root)
	}
	return root
}
