package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/policy"
)

func (a *app) policyCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "policy",
		Short: "Tell which keys are due for rotation, why, and when next",
		Example: `  keyrotor policy explain payments
  keyrotor policy simulate --to 90d`,
	}, a.policyExplain(), a.policySimulate())
}

func (a *app) policyExplain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [KEY]",
		Short: "Say what each policy of a key decides now, and why",
		Long: `Say what each policy of a key, or of all keys, decides now: whether the key is due
for rotation and why, or when it will be next if nothing else happens. A policy that
is made of others is followed by those.

The policy of a key stands in the rotation block of its key block in the config.
Beside it every key has a policy that is built in: it is rotated at half of the
number of uses after which a version stops encrypting. Nothing is rotated by this
command.`,
		Example: `  keyrotor policy explain
  keyrotor policy explain payments
  keyrotor policy explain -o json | jq '.keys[] | select(any(.policies[]; .due)).name'`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				keys, err := a.policyKeys(ctx, kr, args)
				if err != nil {
					return err
				}
				return a.explain(ctx, kr, keys, time.Now().UTC())
			})
		},
	}
}

// policyKeys reads what policies may know of one key, or of all.
func (a *app) policyKeys(ctx context.Context, kr *core.Keyrotor, names []string) ([]policy.Key, error) {
	keys, err := kr.PolicyKeys(ctx, names...)
	if err != nil || len(names) > 0 {
		return keys, err
	}
	if len(keys) == 0 {
		a.Hint("There are no keys yet: keyrotor key create NAME")
	}
	for _, k := range kr.Config.Keys {
		if k.Rotation != nil && !slices.ContainsFunc(keys, func(key policy.Key) bool { return key.Name == k.Name }) {
			a.Note("the config has a rotation block for key %q, which does not exist", k.Name)
		}
	}
	return keys, nil
}

func (a *app) policySimulate() *cobra.Command {
	var (
		from, to   ahead
		usesPerDay uint64
		limit      int
	)
	cmd := &cobra.Command{
		Use:   "simulate [KEY]",
		Short: "List the rotations that the policies would cause, and when",
		Long: `List the rotations that the policies of a key, or of all keys, would cause from now
on, each at once when it is due, if nothing else happened. Nothing is rotated by this
command.

What depends on the number of uses is in the list only with --uses-per-day, which
counts for each key.

A TIME is RFC 3339, e.g. 2026-03-01T12:00:00Z, a day in UTC, e.g. 2026-03-01, or how
far ahead, e.g. 36h, 90d or 12w.`,
		Example: `  keyrotor policy simulate
  keyrotor policy simulate payments --to 90d --uses-per-day 200000
  keyrotor policy simulate --from 2027-01-01 --to 2028-01-01 -o json | jq '.rotations | length'`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now().UTC()
			s := simulation{From: from.after(now, now), UsesPerDay: usesPerDay, limit: limit, now: now}
			s.To = to.after(s.From, s.From.AddDate(1, 0, 0))
			switch {
			case limit < 1:
				return misuse(cmd, "--limit is %d, which is less than 1", limit)
			case s.From.Before(now):
				return misuse(cmd, "--from lies in the past: 'keyrotor history list' has what happened")
			case !s.From.Before(s.To):
				return misuse(cmd, "--to is not after --from")
			}
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				keys, err := a.policyKeys(ctx, kr, args)
				if err != nil {
					return err
				}
				return a.simulate(ctx, kr, keys, s)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(&from, "from", "list rotations from this time on (default: now)")
	flags.Var(&to, "to", "list rotations before this time, or so long after --from (default: a year)")
	flags.Uint64Var(&usesPerDay, "uses-per-day", 0, "simulate that each key is used `N` times a day")
	flags.IntVar(&limit, "limit", 1000, "list at most `N` rotations")
	return cmd
}

// ahead is a time to come as a flag.
type ahead struct {
	text string
	time time.Time
	span time.Duration
}

// String implements pflag.Value.
func (f *ahead) String() string { return f.text }

// Type implements pflag.Value.
func (f *ahead) Type() string { return "TIME" }

// Set implements pflag.Value.
func (f *ahead) Set(s string) error {
	f.text = s
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			f.time = t.UTC()
			return nil
		}
	}
	var err error
	if f.span, err = policy.ParseAge(strings.TrimSpace(s)); err != nil {
		return errors.New("it is a time like 2026-03-01T12:00:00Z, a day like 2026-03-01, or how far ahead, like 36h, 90d or 12w")
	}
	return nil
}

// after is the time itself, or the span after another time, or unless either is set.
func (f *ahead) after(start, unless time.Time) time.Time {
	switch {
	case !f.time.IsZero():
		return f.time
	case f.span > 0:
		return start.Add(f.span)
	default:
		return unless
	}
}
