package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Scheduler is the `scheduler` block, or its defaults.
type Scheduler struct {
	// Interval is how often the policies of all keys are looked at.
	Interval time.Duration
}

// Serve is the `serve` block, or its defaults.
type Serve struct {
	// Listen is the address, HOST:PORT, at which a daemon answers.
	Listen string
}

// How often policies may be looked at. Below, the store would do little else; above,
// a schedule's times would hardly mean anything.
const (
	defaultInterval = time.Minute
	minInterval     = time.Second
	maxInterval     = time.Hour
)

const defaultListen = "127.0.0.1:9187"

func (l *loader) scheduler(b *hcl.Block) {
	if !l.once("scheduler", "block \"scheduler\"", b.DefRange) {
		return
	}
	s := scope{body: b.Body, at: b.DefRange, title: "scheduler"}
	content := l.found.content(s, attributesOnly("interval"))
	a := content.Attributes["interval"]
	if a == nil {
		return
	}
	text, ok := l.attribute(s, provider.Attribute{Name: "interval", Type: provider.Duration}, a).(string)
	if !ok {
		return
	}
	interval, _ := time.ParseDuration(text) // it has just been read without error
	if interval < minInterval || interval > maxInterval {
		l.wrong(s, a, fmt.Errorf("must be from %s to %s", minInterval, maxInterval))
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
	if listen := parsed(l, s, content, "listen", address); listen != "" {
		l.file.Serve.Listen = listen
	}
}

// address checks a HOST:PORT. Without a host, a listener would take connections from
// everywhere; who wants that says so.
func address(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", errors.New(`must be an address and a port, such as "127.0.0.1:9187" or "[::1]:9187"`)
	}
	if host == "" {
		return "", fmt.Errorf(`names no address: write "127.0.0.1:%s" for this machine alone, "0.0.0.0:%s" for all that reach it`, port, port)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("has no port from 1 to 65535")
	}
	return text, nil
}
