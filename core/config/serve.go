package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Scheduler is the `scheduler` block, or its defaults.
type Scheduler struct {
	// Interval is how often the policies of all keys are looked at.
	Interval time.Duration
	// DueSoon is how long before a rotation it is told that it comes; 0 is never.
	DueSoon time.Duration
}

// Serve is the `serve` block, or its defaults.
type Serve struct {
	// Listen is where a daemon serves HTTP, see [CheckListen].
	Listen string
}

// How often policies may be looked at. Below, the store would do little else; above,
// a schedule's times would hardly mean anything.
const (
	defaultInterval = time.Minute
	minInterval     = time.Second
	maxInterval     = time.Hour
)

// How long before a rotation it may be told.
const (
	defaultDueSoon = 24 * time.Hour
	maxDueSoon     = 90 * 24 * time.Hour
)

// DefaultListen is where a daemon serves HTTP if nothing is said.
const DefaultListen = "127.0.0.1:9187"

// UnixPrefix begins what leads to a Unix socket.
const UnixPrefix = "unix:"

// CheckInterval refuses how often policies are not to be looked at.
func CheckInterval(d time.Duration) error {
	if d < minInterval || d > maxInterval {
		return fmt.Errorf("must be from %s to %s", minInterval, maxInterval)
	}
	return nil
}

func (l *loader) scheduler(b *hcl.Block) {
	if !l.once("scheduler", "block \"scheduler\"", b.DefRange) {
		return
	}
	s := scope{body: b.Body, at: b.DefRange, title: "scheduler"}
	content := l.found.content(s, attributesOnly("interval", "due_soon"))
	if lead := parsed(l, s, content, "due_soon", spanOf(0, maxDueSoon)); lead != nil {
		l.file.Scheduler.DueSoon = *lead
	}
	a := content.Attributes["interval"]
	if a == nil {
		return
	}
	text, ok := l.attribute(s, provider.Attribute{Name: "interval", Type: provider.Duration}, a).(string)
	if !ok {
		return
	}
	interval, _ := time.ParseDuration(text) // it has just been read without error
	if err := CheckInterval(interval); err != nil {
		l.wrong(s, a, err)
		return
	}
	l.file.Scheduler.Interval = interval
}

func (l *loader) serve(b *hcl.Block) {
	if !l.once("serve", "block \"serve\"", b.DefRange) {
		return
	}
	s := scope{body: b.Body, at: b.DefRange, title: "serve"}
	content := l.found.content(s, attributesOnly("listen"))
	if content.Attributes["listen"] != nil {
		l.file.Serve.Listen = parsed(l, s, content, "listen", func(text string) (string, error) {
			return text, CheckListen(text)
		})
	}
}

// CheckListen refuses what is neither HOST:PORT nor unix: with the path of a socket, nor
// empty, which is no server at all. Without a host, a listener would take connections
// from everywhere; who wants that says so.
func CheckListen(text string) error {
	if path, ok := strings.CutPrefix(text, UnixPrefix); ok {
		if !filepath.IsAbs(path) {
			return errors.New(`must name a socket by its whole path, such as "unix:/run/keyrotor/http.sock"`)
		}
		return nil
	}
	if text == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New(`must be an address and a port, such as "127.0.0.1:9187" or "[::1]:9187"`)
	}
	if host == "" {
		return fmt.Errorf(`names no address: write "127.0.0.1:%s" for this machine alone, "0.0.0.0:%s" for all that reach it`, port, port)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("has no port from 0 to 65535; 0 is any that is free")
	}
	return nil
}
