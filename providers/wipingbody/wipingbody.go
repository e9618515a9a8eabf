// Package wipingbody sends the body of an HTTP request from a buffer of its own, which is
// wiped once it was sent. A request to a key manager may hold a root.
//
// The buffer also outlives whoever made the request: a client that reuses or closes its
// body as soon as the answer begins, while the transport still looks whether the body has
// ended, breaks the connection under the answer. AWS's SDK does that.
package wipingbody

import (
	"io"
	"net/http"
	"sync"
)

// Take copies a request's body, and closes it. What it answers is to be the body of the
// request that is sent; it need not be closed by anybody but the transport.
func Take(req *http.Request) (io.ReadCloser, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return http.NoBody, nil
	}
	defer req.Body.Close()
	buf := make([]byte, max(0, req.ContentLength))
	if _, err := io.ReadFull(req.Body, buf); err != nil {
		clear(buf)
		return nil, err
	}
	return &body{buf: buf}, nil
}

// body may be closed while it is read: a connection that fails does so.
type body struct {
	mu   sync.Mutex
	buf  []byte
	read int
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read >= len(b.buf) {
		return 0, io.EOF
	}
	n := copy(p, b.buf[b.read:])
	b.read += n
	return n, nil
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.buf)
	b.read = len(b.buf)
	return nil
}
