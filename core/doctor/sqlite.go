package doctor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// Circumstances are what a store is looked at under.
type Circumstances struct {
	// Providers are the names that the config has.
	Providers []string
	// Keys are the blocks of keys that the config has, and Interval is how often it has
	// policies looked at.
	Keys     []config.Key
	Interval time.Duration
	// Retention is how long the config has events stay; 0 is for ever.
	Retention time.Duration
	// Notify are the targets that the config has: their names, and what they want.
	Notify []notify.Target
	// FIPS: this process is in FIPS 140 mode.
	FIPS bool
	// Deep has the database compared with its indexes.
	Deep bool
	// Now is this machine's time.
	Now time.Time
}

// rotated is for how many keys the config has policies.
func (c Circumstances) rotated() (n int) {
	for _, k := range c.Keys {
		if k.Rotation != nil {
			n++
		}
	}
	return n
}

// Stored is what a look at a store gives: the findings, and what they say of the
// providers, which is nil as far as the store could not be read.
type Stored struct {
	Findings []Finding
	Wraps    Wraps
	Lineage  *rewrap.Lineage
}

// SQLite looks at a store's files, into the database, and at what it holds: keys,
// history, what is not finished. Each comes as far as the one before allows.
func SQLite(ctx context.Context, path string, c Circumstances) Stored {
	const unreadable = "the store cannot be read"
	files, err := sqlite.Stat(path)
	findings, ok := StoreFiles(files, err, c.Now)
	if !ok {
		return Stored{Findings: append(findings, skipContents(unreadable)...)}
	}
	i, err := sqlite.Inspect(ctx, files.Path)
	if err != nil {
		return Stored{Findings: slices.Concat(findings, []Finding{StoreRefused(files.Path, err)}, skipContents(unreadable))}
	}
	defer func() { _ = i.Close() }() // nothing was written
	findings = append(findings, Database(ctx, files, i, c.Deep)...)
	contents, err := i.Contents(ctx)
	if err != nil {
		if !errors.Is(err, store.ErrSchema) { // which is a finding already
			findings = append(findings, StoreRefused(files.Path, err))
		}
		return Stored{Findings: append(findings, skipContents(unreadable+" as it is")...)}
	}
	keys, wraps := Keys(ctx, contents, c)
	subscribers, _ := contents.Subscribers(ctx, notify.Topic) // Notify says why there are none
	retention := NewRetention(c.Retention, c.Now, subscribers)
	events, lineage := History(ctx, contents, c.Now, retention)
	if lineage != nil {
		events = append(events, retention.Finding())
	}
	return Stored{
		Findings: slices.Concat(findings, keys, events, Pending(ctx, contents, c.Now),
			Rotation(ctx, contents, c), Configured(ctx, contents, c), Errors(ctx, contents, c.Now),
			Notify(ctx, contents, c.Notify, c.Now)),
		Wraps: wraps, Lineage: lineage,
	}
}

func skipContents(why string) []Finding {
	return []Finding{Skip(GroupKey, why), Skip(GroupHistory, why), Skip(GroupPending, why), Skip(GroupRotation, why), Skip(GroupNotify, why)}
}
