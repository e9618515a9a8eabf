package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
)

// The answers of the policy commands. Their JSON form is stable.

type explainedView struct {
	Time time.Time       `json:"time"`
	Keys []policyKeyView `json:"keys"`
}

type policyKeyView struct {
	Name string `json:"name"`
	// Version is the primary, 0 if there is none.
	Version uint32    `json:"version"`
	Rotated time.Time `json:"rotated,omitzero"`
	// Uses are those that policies count; those of re-encryption are in TotalUses only.
	Uses      uint64 `json:"uses"`
	TotalUses uint64 `json:"total_uses"`
	HardLimit uint64 `json:"hard_limit"`
	// Configured: the config has a policy for the key.
	Configured bool           `json:"configured"`
	Policies   []decisionView `json:"policies"`
}

type decisionView struct {
	Policy      string         `json:"policy"`
	Description string         `json:"description"`
	Due         bool           `json:"due"`
	Reason      keyring.Reason `json:"reason,omitempty"`
	Why         string         `json:"why"`
	Slot        string         `json:"slot,omitempty"`
	Since       time.Time      `json:"since,omitzero"`
	Next        time.Time      `json:"next,omitzero"`
	Parts       []decisionView `json:"parts,omitempty"`
	// Failing is set while the rotations that it asks for fail.
	Failing *failingView `json:"failing,omitempty"`
}

// failingView is what became of the rotations that a policy asked for.
type failingView struct {
	// Failures in a row, of whichever process.
	Failures  int       `json:"failures"`
	ErrorCode string    `json:"error_code"`
	Retry     time.Time `json:"retry"`
}

func viewDecision(p policy.Part) decisionView {
	d := p.Decision
	view := decisionView{
		Policy: p.Name, Description: p.Description, Due: d.Due, Reason: d.Reason, Why: d.Why, Slot: d.Slot,
		Since: d.Since.UTC(), Next: d.Next.UTC(),
	}
	for _, part := range d.Parts {
		view.Parts = append(view.Parts, viewDecision(part))
	}
	return view
}

func (a *app) explain(ctx context.Context, kr *core.Keyrotor, keys []policy.Key, now time.Time) error {
	failing, err := kr.Failing(ctx)
	if err != nil {
		return err
	}
	view := explainedView{Time: now, Keys: make([]policyKeyView, 0, len(keys))}
	for _, key := range keys {
		k := policyKeyView{
			Name: key.Name, Version: key.Version, Rotated: key.Rotated.UTC(), Uses: key.Uses, TotalUses: key.TotalUses,
			HardLimit: key.HardLimit, Configured: kr.Config.Key(key.Name).Rotation != nil,
		}
		for _, p := range kr.Policies(key.Name) {
			d := viewDecision(policy.Part{Name: p.Name(), Description: p.Description(), Decision: p.Decide(key, now)})
			for _, c := range failing {
				if c.Key == key.Name && c.Policy == p.Name() {
					d.Failing = &failingView{c.Failures, c.ErrorCode, c.Retry}
				}
			}
			k.Policies = append(k.Policies, d)
		}
		view.Keys = append(view.Keys, k)
	}
	if a.JSON {
		return a.Answer(view)
	}
	for i, k := range view.Keys {
		if i > 0 {
			if err := a.Printf("\n"); err != nil {
				return err
			}
		}
		if err := a.explainKey(k, now); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) explainKey(k policyKeyView, now time.Time) error {
	about := "no primary version"
	if k.Version > 0 {
		about = "version " + versionText(k.Version)[1:] + ", made " + when(k.Rotated, now)
	}
	lines := []string{a.Heading(k.Name) + ": " + about}
	if !k.Configured {
		lines = append(lines, "  no policy in the config: nothing but its hard limit rotates it")
	}
	for _, d := range k.Policies {
		lines = append(lines, d.lines("  ", now)...)
	}
	return a.Printf("%s\n", strings.Join(lines, "\n"))
}

// lines sets a decision as a tree.
func (d decisionView) lines(indent string, now time.Time) []string {
	lines := []string{indent + d.Policy + ": " + d.Description, indent + "    " + d.words(now)}
	if f := d.Failing; f != nil {
		lines = append(lines, fmt.Sprintf("%s    its rotation failed (%d in a row, the last with %s) and is tried again %s", indent, f.Failures, f.ErrorCode, when(f.Retry, now)))
	}
	// A jitter or a blackout decides by the one policy inside, of which its own words
	// say enough.
	for len(d.Parts) == 1 && d.Parts[0].Policy == d.Policy {
		d = d.Parts[0]
	}
	for _, part := range d.Parts {
		lines = append(lines, part.lines(indent+"  ", now)...)
	}
	return lines
}

func (d decisionView) words(now time.Time) string {
	switch {
	case d.Due && d.Since.IsZero():
		return "due: " + d.Why
	case d.Due:
		return "due since " + when(d.Since, now) + ": " + d.Why
	case d.Next.IsZero():
		return "not due: " + d.Why
	default:
		return "not due: " + d.Why + "; next " + when(d.Next, now)
	}
}

// when says a time as it is, and as seen from now, to two of its units.
func when(t, now time.Time) string {
	text := timeText(t)
	switch away := t.Sub(now); {
	case away >= time.Second:
		return text + ", in " + roughly(away)
	case away <= -time.Second:
		return text + ", " + roughly(-away) + " ago"
	default:
		return text + ", now"
	}
}

// roughly says a length of time, without seconds beside days and the like.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		d = d.Truncate(time.Hour)
	case d >= time.Hour:
		d = d.Truncate(time.Minute)
	}
	return policy.Words(d)
}

// simulation is a calendar. Its JSON form is stable.
type simulation struct {
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	UsesPerDay uint64    `json:"uses_per_day"`
	// Rotations are the earliest first.
	Rotations []plannedView `json:"rotations"`
	// More: the limit cut some off.
	More bool `json:"more"`
	// NotSimulated are policies that depend on uses, of which nobody said how many.
	NotSimulated []unsimulatedView `json:"not_simulated"`

	limit int
	now   time.Time
}

type plannedView struct {
	Time time.Time `json:"time"`
	Key  string    `json:"key"`
	// Version is the one that the new one would replace.
	Version uint32         `json:"version"`
	Policy  string         `json:"policy"`
	Reason  keyring.Reason `json:"reason"`
	Why     string         `json:"why"`
	Slot    string         `json:"slot"`
}

type unsimulatedView struct {
	Key         string `json:"key"`
	Policy      string `json:"policy"`
	Description string `json:"description"`
}

// simulate collects what would happen to each key, as much of it as can be shown.
func (a *app) simulate(ctx context.Context, kr *core.Keyrotor, keys []policy.Key, s simulation) error {
	s.Rotations, s.NotSimulated = []plannedView{}, []unsimulatedView{}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		policies := kr.Policies(key.Name)
		if p := policies[0]; s.UsesPerDay == 0 && counts(p) {
			s.NotSimulated = append(s.NotSimulated, unsimulatedView{Key: key.Name, Policy: p.Name(), Description: p.Description()})
		}
		shown := 0
		for r := range policy.Simulate(policies, key, s.now, s.To, s.UsesPerDay) {
			if r.At.Before(s.From) {
				continue
			}
			s.Rotations = append(s.Rotations, plannedView{
				Time: r.At.UTC(), Key: key.Name, Version: r.Version, Policy: r.Policy,
				Reason: r.Decision.Reason, Why: r.Decision.Why, Slot: r.Decision.Slot,
			})
			if shown++; shown > s.limit { // one more, to know that there is
				break
			}
		}
	}
	slices.SortStableFunc(s.Rotations, func(a, b plannedView) int { return a.Time.Compare(b.Time) })
	if s.More = len(s.Rotations) > s.limit; s.More {
		s.Rotations = s.Rotations[:s.limit]
	}
	if a.JSON {
		return a.Answer(s)
	}
	return a.showSimulation(s)
}

// counts reports whether uses can make a policy due.
func counts(p policy.Policy) bool {
	counted, ok := p.(policy.Counted)
	return ok && counted.MaxUses() > 0
}

func (a *app) showSimulation(s simulation) error {
	rows := make([][]string, 0, len(s.Rotations))
	for _, r := range s.Rotations {
		rows = append(rows, []string{
			timeText(r.Time), r.Key, versionText(r.Version) + " to " + versionText(r.Version+1), string(r.Reason), r.Why,
		})
	}
	if len(rows) > 0 {
		if err := a.Table([]string{"TIME", "KEY", "VERSION", "REASON", "WHY"}, rows); err != nil {
			return err
		}
	} else {
		a.Hint("No rotation from %s to %s.", timeText(s.From), timeText(s.To))
	}
	if s.More {
		a.Note("there are more than %d rotations: give another --limit, or an earlier --to", s.limit)
	}
	for _, n := range s.NotSimulated {
		a.Note("%s: what depends on uses is not in the list without --uses-per-day: %s", n.Key, n.Description)
	}
	return nil
}
