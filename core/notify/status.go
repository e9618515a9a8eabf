package notify

import (
	"context"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// Status is how it stands with one target.
type Status struct {
	Target string   `json:"target"`
	Types  []Type   `json:"types,omitempty"`
	Keys   []string `json:"keys,omitempty"`
	// Subscribed: the store knows it.
	Subscribed bool `json:"subscribed"`
	// Owner is the process that delivers, until Expires; it is empty if nobody does, as
	// where there is nothing to deliver.
	Owner   string    `json:"owner,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// Behind counts what was committed and is to be told, and has not been taken up by
	// anybody who delivers.
	Behind int `json:"behind"`
	// Open notices were taken up and are not delivered, Failing of them after a try, the
	// oldest since Oldest. GivenUp ones will not be; they are kept for 30 days.
	Open    int       `json:"open"`
	Failing int       `json:"failing"`
	GivenUp int       `json:"given_up"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// LastError is the newest of what is open or was given up.
	LastError string `json:"last_error,omitempty"`
}

// Status tells how it stands with each target, in the order of the configuration. It is
// about all processes, and changes nothing.
func (n *Notifier) Status(ctx context.Context) ([]Status, error) {
	if len(n.targets) == 0 {
		return nil, nil
	}
	known, err := n.Store.Subscribers(ctx, Topic)
	if err != nil {
		return nil, err
	}
	list := make([]Status, len(n.targets))
	for i, t := range n.targets {
		list[i] = Status{Target: t.Name, Types: t.Types, Keys: t.Keys}
		k := slices.IndexFunc(known, func(s store.Subscriber) bool { return s.Target == t.Name })
		if k < 0 {
			continue
		}
		s := known[k]
		st := &list[i]
		st.Subscribed, st.Open, st.Failing, st.GivenUp, st.Oldest, st.LastError = true, s.Open, s.Failing, s.Terminal, s.Oldest, s.LastError
		if s.Owner != "" && n.Clock.Now().Before(s.Expires) {
			st.Owner, st.Expires = s.Owner, s.Expires
		}
		if st.Behind, err = t.behind(ctx, s.Position); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// behind counts what the target wants of what follows a position.
func (t *target) behind(ctx context.Context, p store.Position) (int, error) {
	count := 0
	for {
		told, to, err := after(ctx, t.notifier.Store, p)
		if err != nil || to == p {
			return count, err
		}
		for _, f := range told {
			if f.err != nil || t.Wants(f.Notice) {
				count++
			}
		}
		p = to
	}
}
