package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// History is what CheckLog reads: any store, open or not by this suite.
type History interface {
	store.Events
	store.Log
}

// CheckLog reads the whole history and says what is wrong with it: numbers with
// gaps that retention did not make, a root that is not that of the stored bytes, or a
// proof that does not lead to it. It builds the tree from the definition in RFC 6962,
// section 2.1, and from nothing that the store computed but the leaves of events that
// are gone.
func CheckLog(ctx context.Context, h History) error {
	extent, err := h.Extent(ctx)
	if err != nil {
		return err
	}
	var newestFirst []json.RawMessage
	for q := (history.Query{Limit: store.MaxEvents, Before: extent.Size + 1}); ; {
		page, err := h.Events(ctx, q)
		if err != nil {
			return err
		}
		newestFirst = append(newestFirst, page.Events...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	var pruning history.Pruning
	leaves := make([]tlog.Hash, 0, extent.Size)
	for _, b := range slices.Backward(newestFirst) {
		e, err := history.Decode(b)
		if err != nil {
			return err
		}
		if leaves, err = pruned(ctx, h, leaves, e.Seq-1); err != nil {
			return err
		}
		if e.Seq != uint64(len(leaves))+1 {
			return fmt.Errorf("event %d has the number %d", len(leaves)+1, e.Seq)
		}
		leaves = append(leaves, tlog.RecordHash(b))
		if e.Type == history.Pruned {
			if pruning, err = history.ReadPruning(e); err != nil {
				return err
			}
		}
	}
	if extent.Size != uint64(len(leaves)) {
		return fmt.Errorf("the log counts %d events, and there are %d", extent.Size, len(leaves))
	}
	if want := merkle(leaves); extent.Root != want {
		return fmt.Errorf("the root of %d events is %v, and their bytes make %v", extent.Size, extent.Root, want)
	}
	if gone := extent.Size - uint64(len(newestFirst)); gone != pruning.Total || extent.Pruned != pruning.Through {
		return fmt.Errorf("%d of the first %d events are gone, and the history tells of %d of the first %d", gone, extent.Pruned, pruning.Total, pruning.Through)
	}
	if extent.Events != uint64(len(newestFirst)) {
		return fmt.Errorf("the store counts %d events that are there, and there are %d", extent.Events, len(newestFirst))
	}
	return nil
}

// pruned adds the leaves of events up to a number, which must be gone.
func pruned(ctx context.Context, h History, leaves []tlog.Hash, through uint64) ([]tlog.Hash, error) {
	for seq := uint64(len(leaves)) + 1; seq <= through; seq++ {
		r, err := h.Record(ctx, seq, 0)
		if err == nil {
			err = r.Check()
		}
		if err != nil {
			return nil, err
		}
		if r.Bytes != nil {
			return nil, fmt.Errorf("event %d is there, and no query finds it", seq)
		}
		leaves = append(leaves, r.Leaf)
	}
	return leaves, nil
}

// merkle is the tree hash MTH of RFC 6962.
func merkle(leaves []tlog.Hash) tlog.Hash {
	switch n := len(leaves); n {
	case 0:
		empty, _ := tlog.TreeHash(0, nil)
		return empty
	case 1:
		return leaves[0]
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		return tlog.NodeHash(merkle(leaves[:k]), merkle(leaves[k:]))
	}
}
