package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// lookAgain is how long a claim that is held is left alone at most: its holder may
// finish long before it expires.
const lookAgain = 200 * time.Millisecond

// Claimer takes claims on behalf of an operation that can wait for its turn.
type Claimer struct {
	Store store.Intents
	// Waiting, if set, is called each time that another process is waited for.
	Waiting func()
	// Impatient claimers answer *store.HeldError at once instead.
	Impatient bool
	// Inherit, if set, is shown the intent of an owner that is gone, or of one whose
	// time is over if the claim keeps those, and may change the claim that is to
	// replace it. An error ends the attempt, and the intent stays.
	Inherit func(left store.Intent, c *store.Claim) error
}

// Claim waits, as long as ctx allows, until nobody else holds what c claims. From an
// owner that is known to be gone it takes over at once.
func (cl Claimer) Claim(ctx context.Context, c store.Claim) (store.Intent, error) {
	attempt := c
	for {
		in, err := cl.Store.Begin(ctx, attempt)
		if err == nil {
			return in, nil
		}
		var held *store.HeldError
		if !errors.As(err, &held) {
			return store.Intent{}, err
		}
		attempt = c // what was to be inherited may be settled by now
		if held.Wait <= 0 || ParseOwner(held.Intent.Owner).Gone() {
			if err := cl.replace(held.Intent, &attempt); err != nil {
				return store.Intent{}, err
			}
			continue
		}
		if cl.Impatient {
			return store.Intent{}, err
		}
		if cl.Waiting != nil {
			cl.Waiting()
		}
		select {
		case <-ctx.Done():
			return store.Intent{}, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(min(held.Wait+time.Millisecond, lookAgain)):
		}
	}
}

func (cl Claimer) replace(left store.Intent, c *store.Claim) error {
	c.Replace = left.Token
	if cl.Inherit == nil {
		return nil
	}
	return cl.Inherit(left, c)
}
