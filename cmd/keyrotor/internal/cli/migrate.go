package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rewrap"
)

func (a *app) keyMigrate() *cobra.Command {
	var (
		req rewrap.MigrationRequest
		all bool
	)
	cmd := &cobra.Command{
		Use:   "migrate NAME|--all --from PROVIDER --to PROVIDER",
		Short: "Move keys from one provider to another",
		Long: `Move a key, or all keys that a provider wraps, to another provider. No ciphertext
changes, and every version can be read at any moment: all versions are wrapped by
both providers, each new wrap is opened again, and only then the old wraps go, in one
transaction a key. Rotations go on meanwhile.

With --keep the old wraps stay, and new versions are wrapped by both. A run that was
cut off is finished by the next one.

` + exitCodesNote,
		Example: `  keyrotor key migrate payments --from local --to prod
  keyrotor key migrate --all --from local --to prod --note 'to the cloud' -o json`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return misuse(cmd, "a key and --all exclude each other")
			case !all && len(args) == 0:
				return misuse(cmd, "name a key, or give --all")
			case req.From == "" || req.To == "":
				return misuse(cmd, "--from and --to are required")
			case req.From == req.To:
				return misuse(cmd, "--from and --to name the same provider")
			}
			req.Keys = args
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) (err error) {
				if all {
					if req.Keys, err = kr.WrappedBy(ctx, req.From); err != nil {
						return err
					}
				}
				var stop func()
				req.Progress, stop = a.count()
				r, err := kr.Migrate(ctx, req)
				stop()
				if err != nil && r.Keys == 0 {
					return err
				}
				return errors.Join(a.migrated(r), err)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&req.From, "from", "", "the `PROVIDER` that wraps the key now")
	flags.StringVar(&req.To, "to", "", "the `PROVIDER` that is to wrap it")
	flags.BoolVar(&all, "all", false, "all keys that --from wraps")
	flags.BoolVar(&req.Keep, "keep", false, "leave the keys wrapped by both")
	flags.StringVar(&req.Note, "note", "", "`TEXT` for the history; not secret")
	for _, flag := range []string{"from", "to"} {
		completeFlag(cmd, flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return unless(false, a.providerNames())
		})
	}
	return cmd
}

func (a *app) migrated(r rewrap.MigrationReport) error {
	if a.JSON {
		if err := a.Answer(r); err != nil {
			return err
		}
	} else {
		a.listUnmoved(r.Failed)
		if err := a.Printf("from %s to %s: %s of %s, %d wrapped anew, %d retired, %d failed\n",
			r.From, r.To, count(r.Versions, "version"), count(r.Keys, "key"), r.Wrapped, r.Retired, len(r.Failed)); err != nil {
			return err
		}
	}
	if n := len(r.Failed); n > 0 {
		return &partlyError{fmt.Sprintf("%s; the keys that they name keep their wraps by %s: mend what the messages name, then run the command again", count(n, "failure"), r.From)}
	}
	return nil
}
