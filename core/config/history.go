package config

import (
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

// History is the `history` block, or its defaults.
type History struct {
	// Persist: events stay in the store as long as Retention says. Otherwise only those
	// stay that something is built upon.
	Persist bool
	// MaxEvents bounds what a process keeps of the history in memory.
	MaxEvents int
	// Retention is how long events stay in the store; 0 is for ever.
	Retention time.Duration
}

const (
	defaultMaxEvents = 1000
	// maxMaxEvents is a hundred megabytes or so: whoever wants more asks the store.
	maxMaxEvents = 100_000
	minRetention = 24 * time.Hour
	// maxRetention is a hundred years. Longer than that is for ever.
	maxRetention = 36525 * 24 * time.Hour
)

func (l *loader) history(b *hcl.Block) {
	if !l.once("history", "block \"history\"", b.DefRange) {
		return
	}
	s := scope{
		body: b.Body, at: b.DefRange, title: "history",
		planned: []string{"signing_key", "trusted_keys"},
	}
	content := l.found.content(s, attributesOnly("persist", "max_events", "retention", "path"))
	if a := content.Attributes["path"]; a != nil {
		l.found.add(a.NameRange, s.attribute("path"), `attribute "path" in history: the history has no file of its own: an event is committed together with what it tells of`,
			`leave it out; the file of both is that of storage "sqlite" { path = … }`)
	}
	if a := content.Attributes["persist"]; a != nil {
		if persist, ok := l.attribute(s, provider.Attribute{Name: "persist", Type: provider.Bool}, a).(bool); ok {
			l.file.History.Persist = persist
		}
	}
	if a := content.Attributes["max_events"]; a != nil {
		l.maxEvents(s, a)
	}
	if d := parsed(l, s, content, "retention", spanOf(minRetention, maxRetention)); d != nil {
		l.file.History.Retention = *d
	}
	if a := content.Attributes["retention"]; a != nil && !l.file.History.Persist {
		l.found.add(a.NameRange, s.attribute("retention"), `attribute "retention" in history beside persist = false`,
			"leave one of them out: without persistence nothing is kept that can go")
	}
}

func (l *loader) maxEvents(s scope, a *hcl.Attribute) {
	n, ok := l.attribute(s, provider.Attribute{Name: a.Name, Type: provider.Int}, a).(int64)
	switch {
	case !ok: // it was null, or has been reported
	case n < 1 || n > maxMaxEvents:
		l.wrong(s, a, fmt.Errorf("must be from 1 to %d", maxMaxEvents))
	default:
		l.file.History.MaxEvents = int(n)
	}
}
