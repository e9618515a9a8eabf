package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/keyrotor/keyrotor/core/config"
)

// socketMode lets the group of a Unix socket in, and nobody else.
const socketMode = 0o660

// listen opens an address; nil for the empty one.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	path, isUnix := strings.CutPrefix(addr, config.UnixPrefix)
	switch {
	case addr == "":
		return nil, nil //nolint:nilnil // there is none, and that is right
	case !isUnix:
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("cannot serve HTTP: %w: choose another address with --listen or in the serve block", err)
		}
		return l, nil
	}
	removeStale(ctx, path)
	l, err := lc.Listen(ctx, "unix", path)
	if err == nil {
		if err = os.Chmod(path, socketMode); err != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot serve HTTP: %w: choose another socket with --listen or in the serve block", err)
	}
	return l, nil
}

// removeStale removes a socket that nobody listens at: a process that was killed leaves
// it behind.
func removeStale(ctx context.Context, path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path)
	}
}

// exposed reports whether others than this machine may reach a listener.
func exposed(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}
