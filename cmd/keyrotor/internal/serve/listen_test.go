package serve

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/config"
)

// TestUnixSocket: its group may connect, a socket that a killed process left is
// replaced, and neither one in use nor a file is.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if _, err := listen(t.Context(), config.UnixPrefix+path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket in use: %v", err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := listen(t.Context(), config.UnixPrefix+path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|socketMode {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if exposed(l) {
		t.Error("a socket is called exposed")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t.Context(), config.UnixPrefix+path); err == nil {
		t.Error("a file was replaced")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "a file" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// TestExposed: who serves the network is told.
func TestExposed(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, "0.0.0.0:0": true, ":0": true} {
		var log record
		f := newFrontend(nil, logTo(&log))
		l, err := f.listen(t.Context(), addr)
		if err != nil {
			if addr == "[::1]:0" {
				continue // a machine without IPv6
			}
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "without authentication"); got != want {
			t.Errorf("%s: the log says %q", addr, &log)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := listen(t.Context(), ""); l != nil || err != nil {
		t.Errorf("of nothing: %v, %v", l, err)
	}
}
