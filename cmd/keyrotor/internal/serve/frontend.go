package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// What a client may cost. A scrape reads the store for some seconds at most; see
// core/metrics.
const (
	readTimeout    = 5 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// closeTimeout is what answers under way are given at the end.
	closeTimeout = 2 * time.Second
)

// frontend serves HTTP at one address at a time.
type frontend struct {
	handler http.Handler
	log     *slog.Logger
	// failed tells of a server that ended by itself.
	failed chan error

	// addr is where it serves, as it was asked to.
	addr   string
	server *http.Server
	ended  chan struct{}
}

func newFrontend(h http.Handler, log *slog.Logger) *frontend {
	return &frontend{handler: h, log: log, failed: make(chan error, 1)}
}

// listen opens an address and says who can reach it; nil if it is empty.
func (f *frontend) listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := listen(ctx, addr)
	if err == nil && l != nil && exposed(l) {
		f.log.Warn("metrics and health are served to the network, without authentication and without TLS; the metrics name keys", "address", l.Addr().String())
	}
	return l, err
}

// serve begins to answer at a listener, unless that is nil.
func (f *frontend) serve(l net.Listener, addr string) {
	f.addr = addr
	if l == nil {
		return
	}
	server := &http.Server{
		Handler: f.handler, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	f.server, f.ended = server, ended
	f.log.Info("serving HTTP", "address", l.Addr().String())
	go func() {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case f.failed <- fmt.Errorf("the HTTP server ended: %w", err):
			default:
			}
		}
	}()
}

// move serves at another listener, and then no more at the one before.
func (f *frontend) move(l net.Listener, addr string) {
	before := *f
	f.server, f.ended = nil, nil
	f.serve(l, addr)
	before.close()
}

// close ends the server; answers under way are finished if they are quick.
func (f *frontend) close() {
	if f.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		_ = f.server.Close()
	}
	<-f.ended
}
