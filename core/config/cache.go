package config

import (
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/policy"
)

// Budget answers how long a key goes on without its key manager: what its cache block
// says, or the default.
func (f *File) Budget(key string) outage.Budget {
	if b := f.Key(key).Cache; b != nil {
		return *b
	}
	return outage.DefaultBudget()
}

// cache reads how long a key goes on without its key manager; nil if there is no such
// block.
func (l *loader) cache(key scope, blocks hcl.Blocks) *outage.Budget {
	b := l.single(key, blocks)
	if b == nil {
		return nil
	}
	s := nested(key, b, "")
	content := l.found.content(s, &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "ttl"}, {Name: "grace"}}})
	budget := outage.DefaultBudget()
	if d := parsed(l, s, content, "ttl", spanOf(outage.MinTTL, outage.MaxTTL)); d != nil {
		budget.TTL = *d
	}
	if d := parsed(l, s, content, "grace", spanOf(0, outage.MaxGrace)); d != nil {
		budget.Grace = *d
	}
	return &budget
}

// spanOf reads lengths of time within bounds, in the form of all spans in a config.
func spanOf(least, most time.Duration) func(string) (*time.Duration, error) {
	return func(text string) (*time.Duration, error) {
		d, err := policy.ParseAge(text)
		if none, zeroErr := time.ParseDuration(text); zeroErr == nil && none == 0 { // which is no age
			d, err = 0, nil
		}
		if err != nil || d < least || d > most {
			return nil, fmt.Errorf(`must be from %s to %s, not %q: write it like "90s", "1h30m" or "1d"`, policy.Words(least), policy.Words(most), text)
		}
		return &d, nil
	}
}
