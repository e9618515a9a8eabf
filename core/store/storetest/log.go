package storetest

import (
	"context"
	"encoding/json"
	"fmt"

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
// gaps, or a root that is not that of the stored bytes. It builds the tree from the
// definition in RFC 6962, section 2.1, and from nothing that the store computed.
func CheckLog(ctx context.Context, h History) error {
	var newestFirst []json.RawMessage
	for q := (history.Query{Limit: store.MaxEvents}); ; {
		page, err := h.Events(ctx, q)
		if err != nil {
			return err
		}
		newestFirst = append(newestFirst, page.Events...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	leaves := make([]tlog.Hash, len(newestFirst))
	for i := range leaves {
		b := newestFirst[len(newestFirst)-1-i]
		e, err := history.Decode(b)
		if err != nil {
			return err
		}
		if e.Seq != uint64(i)+1 {
			return fmt.Errorf("event %d has the number %d", i+1, e.Seq)
		}
		leaves[i] = tlog.RecordHash(b)
	}
	size, root, err := h.Root(ctx)
	if err != nil {
		return err
	}
	if size != uint64(len(leaves)) {
		return fmt.Errorf("the log counts %d events, and there are %d", size, len(leaves))
	}
	if want := merkle(leaves); root != want {
		return fmt.Errorf("the root of %d events is %v, and their bytes make %v", size, root, want)
	}
	return nil
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
