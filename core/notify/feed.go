package notify

import (
	"encoding/json"
	"errors"

	"github.com/keyrotor/keyrotor/core/history"
)

// readOne reads what is told by the bytes of one event. What is damaged is told as such.
func readOne(b json.RawMessage, id string) (f fed, told bool, err error) {
	e, err := history.Decode(b)
	switch {
	case errors.Is(err, history.ErrSchema):
		return fed{}, false, err
	case err != nil:
		return fed{err: err}, true, nil
	}
	f.Notice, told = FromEvent(e)
	f.ID = id
	return f, told, nil
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
