package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rewrap"
)

func (a *app) kekCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "kek",
		Short: "Create, show and rotate key-encryption keys, which wrap the keys",
		Example: `  keyrotor kek show local
  keyrotor kek rotate local --note 'yearly'`,
	}, a.kekCreate(), a.kekShow(), a.kekRotate(), a.kekRewrap())
}

func (a *app) kekCreate() *cobra.Command {
	return &cobra.Command{
		Use:   "create PROVIDER",
		Short: "Create the key-encryption key of a provider",
		Long: `Create the key-encryption key that a provider block names, where the provider can
("capability create-key"). One that exists already stays as it is, and the command
fails with the code provider_already_exists.`,
		Example:           `  keyrotor kek create local`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeProvider,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withProviders(cmd, func(ctx context.Context, setup *core.Setup) error {
				made, err := setup.CreateKEK(ctx, args[0])
				if err != nil {
					return err
				}
				if a.JSON {
					return a.Answer(wrapView{Provider: args[0], KEKID: made.KEKID, KEKVersion: made.Version})
				}
				return a.Printf("%s: version %s, provider %s\n", made.KEKID, made.Version, args[0])
			})
		},
	}
}

func (a *app) kekShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show PROVIDER",
		Short: "Show a provider's key-encryption key, its versions and what they wrap",
		Example: `  keyrotor kek show local
  keyrotor kek show local -o json | jq .primary`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeProvider,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				kek, err := kr.DescribeKEK(ctx, args[0])
				if err != nil {
					return err
				}
				return a.showKEK(kek)
			})
		},
	}
}

func (a *app) kekRotate() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "rotate PROVIDER",
		Short: "Rotate a provider's key-encryption key, and rewrap what it wraps",
		Long: `Have the key manager make a new version of a provider's key-encryption key, and
rewrap every wrap of that provider with it. No key is rotated and no ciphertext
changes. Each new wrap is opened again before it replaces the old one.

A run that was cut off is finished by the next one, which then does not rotate once
more. If somebody else rotates the key-encryption key at the same time, nothing more
is done and the code is "kek_rotated".

` + exitCodesNote,
		Example: `  keyrotor kek rotate local
  keyrotor kek rotate prod --note 'yearly' -o json`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeProvider,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				progress, stop := a.count()
				r, err := kr.RotateKEK(ctx, rewrap.KEKRequest{Provider: args[0], Note: note, Progress: progress})
				stop()
				if r.KEKVersion == "" {
					return err
				}
				return errors.Join(a.kekRotated(r), err)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	return cmd
}

func (a *app) kekRewrap() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "rewrap PROVIDER",
		Short: "Bring a provider's wraps to its key-encryption key's newest version",
		Long: `Bring every wrap of a provider to the primary version of its key-encryption key, as
'kek rotate' does after a rotation. If somebody else rotated that key, by hand or by
the key manager's own schedule, the history learns of it first.

` + exitCodesNote,
		Example:           `  keyrotor kek rewrap prod`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeProvider,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				progress, stop := a.count()
				r, err := kr.RewrapKEK(ctx, rewrap.KEKRequest{Provider: args[0], Note: note, Progress: progress})
				stop()
				if r.KEKVersion == "" {
					return err
				}
				return errors.Join(a.kekRewrapped(r, r), err)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	return cmd
}

// count shows a bar to who watches, until stop.
func (a *app) count() (progress func(rewrap.Progress), stop func()) {
	bar := a.Counter()
	if bar == nil {
		return nil, func() {}
	}
	a.counting = true
	return func(p rewrap.Progress) { bar.Set(p.Key, int64(p.Done), int64(p.Total)) }, bar.Close
}

func (a *app) kekRotated(r rewrap.KEKRotation) error {
	if !a.JSON {
		if r.Resumed {
			a.Hint("An earlier run had begun this rotation. It was finished, and none was begun beside it.")
		}
		if err := a.Printf("%s: version %s is the primary, before it %s; provider %s\n", r.KEKID, r.KEKVersion, r.Previous, r.Provider); err != nil {
			return err
		}
	}
	return a.kekRewrapped(r.KEKReport, r)
}

// kekRewrapped shows a report, which in JSON is a part of answer.
func (a *app) kekRewrapped(r rewrap.KEKReport, answer any) error {
	if r.RotatedExternally {
		a.Warn("somebody else made version %s the primary of %s; the history holds that now", r.KEKVersion, r.KEKID)
	}
	if a.JSON {
		if err := a.Answer(answer); err != nil {
			return err
		}
	} else {
		a.listUnmoved(r.Failed)
		if err := a.Printf("%s of %s, %d rewrapped under version %s, %d failed\n",
			count(r.Versions, "version"), count(r.Keys, "key"), r.Rewrapped, r.KEKVersion, len(r.Failed)); err != nil {
			return err
		}
	}
	if n := len(r.Failed); n > 0 {
		return &partlyError{fmt.Sprintf("%s; those wraps stayed as they were: mend what the messages name, then run `keyrotor kek rewrap %s`", count(n, "failure"), r.Provider)}
	}
	return nil
}

// listUnmoved writes one failure a line.
func (a *app) listUnmoved(failed []rewrap.Failure) {
	for _, f := range failed {
		place := f.Key
		if f.Version > 0 {
			place += " " + versionText(f.Version)
		}
		a.Hint("%s: %s: %s", place, f.Code, console.Printable(f.Error))
	}
}

func (a *app) showKEK(kek rewrap.KEK) error {
	if a.JSON {
		return a.Answer(kek)
	}
	if err := a.Printf(`provider   %s
id         %s
state      %s
algorithm  %s
primary    %s

`, kek.Provider, kek.KEKID, kek.State, dash(kek.Algorithm), dash(kek.Primary)); err != nil {
		return err
	}
	rows := make([][]string, 0, len(kek.Versions)+1)
	stale := kek.Elsewhere
	for _, v := range kek.Versions {
		if !v.Primary {
			stale += v.Wraps
		}
		rows = append(rows, []string{v.Version, string(v.State), strconv.Itoa(v.Wraps), momentText(v.Created)})
	}
	if kek.Elsewhere > 0 {
		rows = append(rows, []string{"other", "-", strconv.Itoa(kek.Elsewhere), "-"})
	}
	if err := a.Table([]string{"VERSION", "STATE", "WRAPS", "CREATED"}, rows); err != nil {
		return err
	}
	if kek.RotatedExternally {
		a.Hint("Somebody else made version %s the primary: `keyrotor kek rewrap %s` records it and rewraps.", kek.Primary, kek.Provider)
	} else if stale > 0 {
		a.Hint("%s not under the primary: `keyrotor kek rewrap %s`", count(stale, "wrap"), kek.Provider)
	}
	return nil
}

// momentText is timeText of a time that a key manager need not tell.
func momentText(t time.Time) string {
	if t.IsZero() {
		return dash("")
	}
	return timeText(t)
}
