package outage

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	// confirmAfter is when a first refusal is followed up.
	confirmAfter = 5 * time.Second
	// confirmWithin is how long a refusal waits for another one; after that it was a
	// mishap.
	confirmWithin = time.Minute
	// maxPause is the longest that a key manager may ask for and get.
	maxPause = 5 * time.Minute
)

// newRetries paces how a KEK that fails is asked again.
func newRetries() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: time.Second, Multiplier: 2, MaxInterval: time.Minute,
		RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
}

// KEK is what one process knows of one key-encryption key. An outage is the whole
// KEK's; a refusal is that of one of its versions, since an old one may be disabled
// while the others go on. It is not safe for concurrent use.
type KEK struct {
	id ID
	// relied is when the process came to rely on it, opened when it last opened a
	// wrap; zero if it has not.
	relied, opened time.Time
	budgets        map[string]Budget // by the key's name
	// ttl is the smallest, first the budget that is spent first.
	ttl      time.Duration
	first    Budget
	spent    map[string]bool
	versions map[string]*version

	// failure is why it did not open a wrap when it was its turn; nil if it did.
	failure *failure
	// outage is set while the process is degraded.
	outage  *trouble
	retries *backoff.ExponentialBackOff
	retryAt time.Time
}

// version is one version of the KEK.
type version struct {
	// keys have wraps by it.
	keys map[string]bool
	// opened is when it last opened one, for whomever; asked when it was last asked to
	// in its turn, asking while there is no answer.
	opened, asked time.Time
	asking        bool
	// refused is the first of two refusals, revoked the newest after the second.
	refused, revoked *failure
	// revocation is set while access is gone.
	revocation *trouble
	retries    *backoff.ExponentialBackOff
	// askAt is when to ask it beside the KEK's turns; zero if not.
	askAt time.Time
}

type failure struct {
	err error
	at  time.Time
}

// trouble is what a change told of.
type trouble struct {
	entered, since time.Time
	keys           []string
}

// New is a KEK that a process comes to rely on now.
func New(id ID, now time.Time) *KEK {
	k := &KEK{
		id: id, relied: now, retries: newRetries(),
		budgets: make(map[string]Budget), spent: make(map[string]bool), versions: make(map[string]*version),
	}
	k.Disregard()
	return k
}

// Rely adds a key that has wraps by a version of the KEK.
func (k *KEK) Rely(key string, b Budget, kekVersion string) {
	k.budgets[key] = b
	k.ttl = min(k.ttl, b.TTL)
	if b.total() < k.first.total() || b.total() == k.first.total() && b.TTL < k.first.TTL {
		k.first = b
	}
	v := k.versions[kekVersion]
	if v == nil {
		v = &version{keys: make(map[string]bool), retries: newRetries()}
		k.versions[kekVersion] = v
	}
	v.keys[key] = true
}

// Disregard takes back all that Rely said. What it does not say again goes at the
// next Advance.
func (k *KEK) Disregard() {
	clear(k.budgets)
	k.ttl, k.first = MaxTTL, Budget{MaxTTL, MaxGrace}
	for _, v := range k.versions {
		clear(v.keys)
	}
}

// Unused reports whether no key relies on the KEK.
func (k *KEK) Unused() bool { return len(k.budgets) == 0 }

// Opened is called whenever a version of the KEK opened a wrap and the root was right.
// Began is when it was asked to: what it was asked before it refused another one says
// nothing of that.
func (k *KEK) Opened(began, now time.Time, kekVersion string) {
	k.opened = now
	k.failure = nil
	k.retries.Reset()
	v := k.versions[kekVersion]
	if v == nil {
		return
	}
	v.opened = now
	if !v.refusedAfter(began) {
		v.refused, v.revoked, v.askAt = nil, nil, time.Time{}
		v.retries.Reset()
	}
}

// looked is when it last showed whether it opens wraps.
func (v *version) looked() time.Time {
	if v.asked.After(v.opened) {
		return v.asked
	}
	return v.opened
}

func (v *version) refusedAfter(began time.Time) bool {
	return v.refused != nil && v.refused.at.After(began) || v.revoked != nil && v.revoked.at.After(began)
}

// Failed is called with the error of any call that was to open a wrap, other than
// those that were due. A refusal has it asked soon. The rest is for whoever made the
// call: whether the key manager is away, shows at its turn.
func (k *KEK) Failed(now time.Time, kekVersion string, err error) {
	if v := k.versions[kekVersion]; v != nil && Revokes(err) && v.revoked == nil && !v.suspect(now) {
		k.refuse(now, v, err)
	}
}

// suspect reports whether a refusal waits for another one.
func (v *version) suspect(now time.Time) bool {
	return v.refused != nil && now.Sub(v.refused.at) <= confirmWithin
}

// refuse notes a first refusal.
func (k *KEK) refuse(now time.Time, v *version, err error) {
	k.askOthers(now)
	v.refused, v.askAt = &failure{err, now}, now.Add(confirmAfter)
}

// confirm takes a refusal of what was due, which is the second one if it was asked for
// after the first. One alone may be a mishap, and what others were refused may be a wrap
// that is not in use any more.
func (k *KEK) confirm(now time.Time, v *version, err error) {
	switch {
	case v.revoked != nil || v.suspect(now) && v.asked.After(v.refused.at):
		v.refused, v.revoked = nil, &failure{err, now}
		v.askAt = now.Add(v.retries.NextBackOff())
	case !v.suspect(now):
		k.refuse(now, v, err)
	}
}

// askOthers has it show at once whether a refusal is about one version alone or about
// the whole KEK. Where another one is refused already, they have been asked.
func (k *KEK) askOthers(now time.Time) {
	for _, v := range k.versions {
		if v.suspect(now) {
			return
		}
	}
	for _, v := range k.versions {
		if v.revoked == nil {
			v.askAt = now
		}
	}
}

// Due answers the versions of the KEK that are to open a wrap now.
func (k *KEK) Due(now time.Time) []string {
	var due []string
	for name, v := range k.versions {
		if !v.asking && !v.askAt.IsZero() && !v.askAt.After(now) {
			due = append(due, name)
		}
	}
	if turn, ok := k.turn(); ok && len(due) == 0 && !k.turnAt(turn).After(now) {
		due = append(due, turn)
	}
	slices.Sort(due)
	return due
}

// Asked is called when a version that was due is asked. It is not due again before
// Answered.
func (k *KEK) Asked(now time.Time, kekVersion string) {
	if v := k.versions[kekVersion]; v != nil {
		v.asking, v.asked = true, now
	}
}

// turn is the version that is to prove that the KEK still opens wraps. Each has its
// turn, so that it shows if an old one was disabled. There is none while one is being
// asked, or if all refuse.
func (k *KEK) turn() (string, bool) {
	turn, found := "", false
	for name, v := range k.versions {
		if v.asking {
			return "", false
		}
		if v.refused != nil || v.revoked != nil {
			continue
		}
		if !found || cmp.Or(v.looked().Compare(k.versions[turn].looked()), cmp.Compare(name, turn)) < 0 {
			turn, found = name, true
		}
	}
	return turn, found && !k.Unused()
}

// turnAt is when it is the turn of a version: when the KEK has opened nothing for its TTL;
// and if others open wraps all the time, when each of them would have had its turn.
func (k *KEK) turnAt(turn string) time.Time {
	if k.failure != nil {
		return k.retryAt
	}
	at := k.base().Add(k.ttl)
	last := k.versions[turn].looked()
	if last.IsZero() {
		last = k.relied
	}
	if own := last.Add(k.ttl * time.Duration(len(k.versions))); own.Before(at) {
		return own
	}
	return at
}

// Withdrawn is called instead of Answered if it turns out that the wrap is not in use any
// more, so that its answer means nothing.
func (k *KEK) Withdrawn(now time.Time, kekVersion string) {
	if v := k.versions[kekVersion]; v != nil {
		v.asking, v.askAt = false, now
	}
}

// Answered is called with the outcome of what was due.
func (k *KEK) Answered(now time.Time, kekVersion string, err error) {
	v := k.versions[kekVersion]
	if v == nil { // nothing relies on it any more
		return
	}
	v.asking = false
	switch {
	case err == nil:
		k.Opened(v.asked, now, kekVersion)
		return
	case Revokes(err):
		k.confirm(now, v, err)
		return
	case v.revoked != nil:
		v.askAt = now.Add(pause(v.retries, err))
		return
	case v.refused != nil:
		v.askAt = now.Add(pause(v.retries, err))
	default:
		v.askAt = time.Time{} // the KEK's turns will do
	}
	if k.overdue(now) {
		k.failure = &failure{err, now}
		k.retryAt = now.Add(pause(k.retries, err))
	}
}

// pause is how long to leave a key manager alone after a failure.
func pause(retries *backoff.ExponentialBackOff, err error) time.Duration {
	d := retries.NextBackOff()
	if e, ok := errors.AsType[*provider.Error](err); ok {
		return max(d, min(e.RetryAfter, maxPause))
	}
	return d
}

// base is what budgets count from.
func (k *KEK) base() time.Time {
	if k.opened.IsZero() {
		return k.relied
	}
	return k.opened
}

// overdue reports whether the smallest TTL is over.
func (k *KEK) overdue(now time.Time) bool { return !now.Before(k.base().Add(k.ttl)) }

// Troubled reports whether Advance has told of something that has not ended yet.
func (k *KEK) Troubled() bool {
	for _, v := range k.versions {
		if v.revocation != nil {
			return true
		}
	}
	return k.outage != nil
}

// isSpent reports whether a budget is.
func (k *KEK) isSpent(now time.Time, b Budget) bool {
	return k.failure != nil && !now.Before(k.base().Add(b.total()))
}

// Next is when Advance and Due are to be called again; zero if there is nothing to
// wait for.
func (k *KEK) Next() time.Time {
	var next time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, v := range k.versions {
		if !v.asking {
			soonest(v.askAt)
		}
	}
	if turn, ok := k.turn(); ok {
		soonest(k.turnAt(turn))
	}
	if k.failure != nil {
		for key, b := range k.budgets {
			if !k.spent[key] {
				soonest(k.base().Add(b.total()))
			}
		}
	}
	return next
}
