package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// copySize is how much is read from standard input at once.
const copySize = 64 << 10

// stdin answers standard input as a reader that the end of the context interrupts.
// The caller closes it.
func (a *app) stdin(ctx context.Context) io.ReadCloser { return interruptible(ctx, a.In) }

// interruptible answers a reader that the end of the context interrupts; a read from
// a terminal or a pipe could last for ever. The caller closes it.
func interruptible(ctx context.Context, in io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	go func() {
		buf := make([]byte, copySize)
		defer clear(buf)
		// The wrapper hides WriteTo, which would go around the buffer.
		_, err := io.CopyBuffer(w, struct{ io.Reader }{in}, buf)
		w.CloseWithError(err)
	}()
	return r
}

// readAll reads up to limit bytes. The caller wipes the result; copies that were
// outgrown on the way are wiped here.
func readAll(r io.Reader, limit int) ([]byte, error) {
	buf := make([]byte, 0, copySize)
	for {
		if len(buf) > limit {
			clear(buf)
			return nil, fmt.Errorf("%w: over %d bytes", errTooLarge, limit)
		}
		if len(buf) == cap(buf) {
			bigger := make([]byte, len(buf), 2*cap(buf))
			copy(bigger, buf)
			clear(buf)
			buf = bigger
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			clear(buf)
			return nil, fmt.Errorf("read the input: %w", err)
		}
	}
}

// trimToken takes one line break from the end of a text ciphertext. In a binary
// one it may be a byte like any other.
func trimToken(ciphertext []byte) []byte {
	if keyring.IsBinary(ciphertext) {
		return ciphertext
	}
	return keyring.TrimLine(ciphertext)
}
