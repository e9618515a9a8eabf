package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// fed is a piece of the feed: what is told, or why it cannot be read.
type fed struct {
	Notice
	// seq is the number of its event, if there is one.
	seq uint64
	err error
}

// read turns a batch into what is told, in the order of committing as far as that is
// known: events and notices have an order of their own each, and are merged by time.
// What is not told is left out.
func read(b store.Batch) []fed {
	var events, notices []fed
	for _, e := range b.Events {
		if f, told := readOne(e.Bytes, eventID(e)); told {
			f.seq = e.Seq
			events = append(events, f)
		}
	}
	for _, n := range b.Notices {
		if f, told := readOne(n.Bytes, noticeID(n.ID)); told {
			notices = append(notices, f)
		}
	}
	return merge(events, notices)
}

// readOne reads what is told by the bytes of an event. What cannot be read is told as
// such.
func readOne(b json.RawMessage, id string) (f fed, told bool) {
	e, err := history.Decode(b)
	if err != nil {
		return fed{Notice: Notice{ID: id}, err: fmt.Errorf("notice %s: %w", id, err)}, true
	}
	f.Notice, told = FromEvent(e)
	f.ID = id
	return f, told
}

// merge joins two sequences by time. Each keeps its own order.
func merge(a, b []fed) []fed {
	merged := make([]fed, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if b[0].Time.Before(a[0].Time) {
			merged, b = append(merged, b[0]), b[1:]
		} else {
			merged, a = append(merged, a[0]), a[1:]
		}
	}
	return append(append(merged, a...), b...)
}

// eventID is the id of what is told about an event. A restored backup gives numbers out
// again, to other events: the hash tells them apart. There is no full stop in an id,
// because that separates the parts of what a webhook signs.
func eventID(e store.FeedEvent) string {
	leaf := history.Leaf(e.Bytes)
	return strconv.FormatUint(e.Seq, 10) + "-" + hex.EncodeToString(leaf[:8])
}

// noticeID is the id of what is told about a notice. The id that its occasion has may be
// of any length, and have the name of a key in it, full stops and all.
func noticeID(occasion string) string {
	sum := sha256.Sum256([]byte(occasion))
	return "n-" + hex.EncodeToString(sum[:12])
}
