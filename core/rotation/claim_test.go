package rotation_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// script answers each Begin as the next entry says, and grants what follows.
type script struct {
	held []store.HeldError
	// asked are the claims that were asked for.
	asked []store.Claim
}

func (s *script) Begin(_ context.Context, c store.Claim) (store.Intent, error) {
	s.asked = append(s.asked, c)
	if len(s.held) == 0 {
		return store.Intent{Operation: c.Operation, Detail: c.Detail, Token: 9}, nil
	}
	next := s.held[0]
	s.held = s.held[1:]
	return store.Intent{}, &next
}

func (*script) End(context.Context, store.Intent) error { return nil }

func (*script) Intents(context.Context) ([]store.Intent, error) { return nil, nil }

func over(token uint64) store.HeldError {
	return store.HeldError{Intent: store.Intent{Operation: "theirs", Detail: "their detail", Owner: "x", Token: token}}
}

// inherit goes on with what was left.
func inherit(left store.Intent, c *store.Claim) error {
	c.Operation, c.Detail = left.Operation, left.Detail
	return nil
}

// TestInherit: what was left goes to the one who replaces it. Who comes too late for
// that has nothing of it.
func TestInherit(t *testing.T) {
	mine := store.Claim{Operation: "mine", Detail: "my detail"}
	alive := over(2)
	alive.Wait = 1
	waited := 0
	s := &script{held: []store.HeldError{over(1), alive}}
	in, err := rotation.Claimer{Store: s, Waiting: func() { waited++ }, Inherit: inherit}.Claim(t.Context(), mine)
	if err != nil || in.Operation != "mine" || in.Detail != "my detail" || waited != 1 {
		t.Errorf("too late: %+v, %v, waited %d times", in, err, waited)
	}
	theirs := store.Claim{Operation: "theirs", Detail: "their detail", Replace: 1}
	if want := []store.Claim{mine, theirs, mine}; !slices.Equal(s.asked, want) {
		t.Errorf("asked for %+v, want %+v", s.asked, want)
	}

	s = &script{held: []store.HeldError{over(1)}}
	if in, err := (rotation.Claimer{Store: s, Inherit: inherit}).Claim(t.Context(), mine); err != nil || in.Operation != "theirs" {
		t.Errorf("in time: %+v, %v", in, err)
	}
	s = &script{held: []store.HeldError{over(1)}}
	if in, err := (rotation.Claimer{Store: s}).Claim(t.Context(), mine); err != nil || in.Operation != "mine" || s.asked[1].Replace != 1 {
		t.Errorf("without a wish to inherit: %+v, %v", in, err)
	}
	s = &script{held: []store.HeldError{over(1)}}
	refuse := errors.New("cannot be read")
	_, err = rotation.Claimer{Store: s, Inherit: func(store.Intent, *store.Claim) error { return refuse }}.Claim(t.Context(), mine)
	if !errors.Is(err, refuse) || len(s.asked) != 1 {
		t.Errorf("a refusal: %v after %d attempts", err, len(s.asked))
	}
}
