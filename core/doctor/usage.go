package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	keyUsage  check = "key.usage"
	keyLeases check = "key.leases"
	keyClock  check = "key.clock"
)

const (
	// unusual is how many times the pace of all versions before is worth a word.
	unusual = 10
	// leastSpan and leastUses are what a pace is told from: a version that was made a
	// moment ago, or is hardly used, has none.
	leastSpan = time.Hour
	leastUses = 1000
	// leastMargin is how long half of the hard limit is to last: the time that there is for
	// a rotation to succeed.
	leastMargin = 24 * time.Hour
	// handover is how long a process may hold uses of a version after another became the
	// primary: it looks for changes every few seconds.
	handover = time.Minute
)

// usage compares how often the primary is used with its limit, and with the versions
// before it.
func (e *keyExamination) usage(key store.Key) {
	v, err := key.PrimaryVersion()
	if err != nil {
		return // key.primary tells
	}
	now, ok := pace(key, v, e.Now)
	if !ok {
		return
	}
	if half := key.Settings.HardLimit / 2; now.total > 0 && float64(half)/now.total < leastMargin.Hours()/24 {
		lasts := time.Duration(float64(half) / now.total * 24 * float64(time.Hour))
		e.found(keyUsage.warn(key.Name,
			fmt.Sprintf("version %d has %s a day, so that half of its hard limit of %d lasts %s: a rotation that fails for so long stops encryption", v.Number, usesText(now.total), key.Settings.HardLimit, ageText(lasts)),
			fmt.Sprintf("raise it: `keyrotor key set %s --hard-limit NUMBER`, up to %d; or give values of one kind a key of their own", key.Name, uint64(keyring.MaxUses))))
	}
	var most float64
	var busiest uint32
	for i := range key.Versions {
		if before := &key.Versions[i]; before.Number < v.Number {
			if p, ok := pace(key, before, successor(key, i)); ok && p.encryptions > most {
				most, busiest = p.encryptions, before.Number
			}
		}
	}
	if most > 0 && now.encryptions > unusual*most {
		e.found(keyUsage.warn(key.Name,
			fmt.Sprintf("version %d encrypts %s a day, and no version before more than version %d with %s a day", v.Number, usesText(now.encryptions), busiest, usesText(most)),
			fmt.Sprintf("find out who encrypts so often: `keyrotor usage %s` shows which processes hold uses", key.Name)))
	}
}

// paces are uses a day.
type paces struct{ total, encryptions float64 }

// pace is how often a version was used a day, up to a time.
func pace(key store.Key, v *keyring.Version, until time.Time) (paces, bool) {
	span := until.Sub(v.Activated)
	uses := key.Uses[v.Number]
	if v.Activated.IsZero() || span < leastSpan || uses < leastUses {
		return paces{}, false
	}
	days := span.Hours() / 24
	return paces{float64(uses) / days, float64(uses-min(uses, key.Reencrypted[v.Number])) / days}, true
}

// successor is when a version stopped encrypting: with the next one, or by its state.
func successor(key store.Key, index int) time.Time {
	for _, next := range key.Versions[index+1:] {
		if !next.Activated.IsZero() {
			return next.Activated
		}
	}
	return key.Versions[index].StateChanged
}

func usesText(n float64) string { return count(uint64(n), "use") }

// leases looks who holds uses of the key that cannot have a use for them.
func (e *keyExamination) leases(ctx context.Context, r KeyReader, key store.Key) {
	held, err := r.Held(ctx, key.Name, e.Now)
	if err != nil {
		e.found(keyLeases.fail(key.Name, err.Error(), restore))
		return
	}
	var gone, uses uint64
	for _, h := range held {
		if rotation.ParseOwner(h.Owner).Gone() {
			gone, uses = gone+1, uses+h.Uses
			continue
		}
		v, ok := key.Version(h.Version)
		if !ok || h.Version == key.Primary || h.Uses == h.Reencrypting || e.Now.Sub(v.StateChanged) < handover {
			continue
		}
		e.found(keyLeases.warn(key.Name,
			fmt.Sprintf("process %s may encrypt under version %d until %s, which is %s since %s", h.Owner, h.Version, timeText(h.Expires), v.State, timeText(v.StateChanged)),
			"look into its log: it hangs, or cannot read the store; at that time its uses are over"))
	}
	if gone > 0 {
		e.found(keyLeases.warn(key.Name,
			fmt.Sprintf("%s held by %s that ended without giving them back, and count as used", isAre(int(uses), "use"), holders(gone)),
			"look why; a process that is killed over and over uses a key up"))
	}
}

func holders(n uint64) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}

// clock looks for what was made in the future: by a machine whose clock is ahead, or
// before this one's was set back. Policies count ages from there.
func (e *keyExamination) clock(key store.Key) {
	for i := range key.Versions {
		v := &key.Versions[i]
		latest := v.Created
		if v.Activated.After(latest) {
			latest = v.Activated
		}
		if ahead := latest.Sub(e.Now); ahead > clockSlack {
			e.found(keyClock.warn(key.Name,
				fmt.Sprintf("version %d was made or activated at %s, which is %s ahead of this machine's clock: its age counts from then", v.Number, timeText(latest), ageText(ahead)),
				fmt.Sprintf("set the clocks of all machines (e.g. `timedatectl status`), then run `keyrotor key rotate %s` if the key must not wait so long", key.Name)))
		}
	}
}
