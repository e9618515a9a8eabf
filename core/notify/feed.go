package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// fed is a piece of the feed: what is told, or why it cannot be read.
type fed struct {
	Notice
	told bool
	// seq is the number of its event, or number that of its notice.
	seq    uint64
	number int64
	err    error
}

// after reads what is told of what follows a position, and answers where that ends.
func after(ctx context.Context, feed store.Feed, p store.Position) ([]fed, store.Position, error) {
	b, err := feed.After(ctx, p, batchSize)
	if err != nil {
		return nil, p, err
	}
	told, to := read(b, p, batchSize)
	return told, to, nil
}

// read turns a batch that was read from a position into what is told, in the order of
// committing as far as that is known: events and notices have an order of their own each,
// and are merged by time. What is not told is left out. Where there are more events, or
// more notices, than the limit, the others wait for those that come before them; to is
// then before the end of the batch.
func read(b store.Batch, from store.Position, limit int) (told []fed, to store.Position) {
	events, notices := make([]fed, 0, len(b.Events)), make([]fed, 0, len(b.Notices))
	for _, e := range b.Events {
		f := readOne(e.Bytes, eventID(e))
		f.seq = e.Seq
		events = append(events, f)
	}
	for _, n := range b.Notices {
		f := readOne(n.Bytes, noticeID(n.ID))
		f.number = n.Number
		notices = append(notices, f)
	}
	to = b.To
	moreEvents, moreNotices := len(events) == limit, len(notices) == limit
	switch {
	case moreEvents && (!moreNotices || !last(notices).Time.Before(last(events).Time)):
		if kept := until(notices, last(events).Time); len(kept) < len(notices) {
			notices, to.Notice = kept, max(from.Notice, last(kept).number)
		}
	case moreNotices:
		if kept := until(events, last(notices).Time); len(kept) < len(events) {
			events, to.Event = kept, max(from.Event, last(kept).seq)
		}
	}
	merged := merge(events, notices)
	return slices.DeleteFunc(merged, func(f fed) bool { return !f.told }), to
}

// last is the last piece, the zero one if there is none.
func last(list []fed) fed {
	if len(list) == 0 {
		return fed{}
	}
	return list[len(list)-1]
}

// until are the pieces before the first that is later than a time.
func until(list []fed, at time.Time) []fed {
	if i := slices.IndexFunc(list, func(f fed) bool { return f.Time.After(at) }); i >= 0 {
		return list[:i]
	}
	return list
}

// readOne reads what is told by the bytes of an event. What cannot be read is told as
// such.
func readOne(b json.RawMessage, id string) (f fed) {
	e, err := history.Decode(b)
	if err != nil {
		return fed{Notice: Notice{ID: id}, told: true, err: fmt.Errorf("notice %s: %w", id, err)}
	}
	f.Notice, f.told = FromEvent(e)
	f.ID = id
	if !f.told {
		f.Time = e.Time // its place is needed all the same
	}
	return f
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
