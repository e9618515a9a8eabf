package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/policy"
)

// prunedView says what a pruning did. Its JSON form is stable.
type prunedView struct {
	Pruned uint64     `json:"pruned"`
	Log    extentView `json:"log"`
}

func (a *app) historyPrune() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Take events out that are older than the config wants to keep",
		Long: `Take events out of the store that are older than the history block of the config wants
to keep. A daemon, or a service that runs the scheduler, does so by itself; this is for
an installation without one. With no retention in the config nothing is taken out.

Their leaves stay in the log's Merkle tree, and events stay that something is built
upon: the newest of each key, what is known of key-encryption keys, destructions and
restorations, and what a notification is still to be made of.`,
		Example: `  keyrotor history prune
  keyrotor history prune -o json | jq .pruned`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				n, err := kr.PruneHistory(ctx)
				if err != nil {
					return err
				}
				extent, err := kr.HistoryExtent(ctx)
				if err != nil {
					return err
				}
				if a.JSON {
					return a.Answer(prunedView{n, viewExtent(extent)})
				}
				if err := a.Printf("%d events taken out, %d of %d are left\n", n, extent.Events, extent.Size); err != nil {
					return err
				}
				a.Hint("%s", kept(kr.Config.History))
				return nil
			})
		},
	}
}

// kept says how long events stay.
func kept(h config.History) string {
	switch {
	case !h.Persist:
		return "The config keeps no event that can go."
	case h.Retention == 0:
		return "The config keeps them for ever: history { retention = \"400d\" } changes that."
	default:
		return "The config keeps them for " + policy.Words(h.Retention) + "."
	}
}
