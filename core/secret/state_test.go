package secret

import (
	"bytes"
	"context"
	"testing"
)

// copier is a cipher that copies.
type copier struct{ Cipher }

func (copier) Renew(_ context.Context, dst, c, _ []byte) ([]byte, uint32, uint32, error) {
	return append(append(dst, c[0]+1), c[1:]...), uint32(c[0]), uint32(c[0]) + 1, nil
}

// TestBuffersMoveOn: the buffer that one value gives up is that of the next, unless it is
// far larger than what goes into it.
func TestBuffersMoveOn(t *testing.T) {
	large, small, next := bytes.Repeat([]byte{1}, 1<<20), bytes.Repeat([]byte{1}, 100), bytes.Repeat([]byte{1}, 90)
	values := []*state{
		newState("large", Encrypt, large),
		newState("small", Encrypt, small),
		newState("next", Encrypt, next),
	}
	var spare []byte
	for _, s := range values {
		var r result
		if spare = s.renew(t.Context(), copier{}, nil, spare, &r); r.err != nil || r.from != 1 || r.to != 2 {
			t.Fatalf("%+v", r)
		}
	}
	if n := cap(values[1].content); n > 300 {
		t.Errorf("a value of 100 bytes keeps a buffer of %d", n)
	}
	if &values[2].content[0] != &small[0] {
		t.Error("a buffer was made where one was free")
	}
	if &spare[:1][0] != &next[0] {
		t.Error("the last buffer is lost")
	}
}
