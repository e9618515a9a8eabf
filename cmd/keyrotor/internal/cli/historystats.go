package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
)

// statsView counts events. Its JSON form is stable.
type statsView struct {
	Events uint64 `json:"events"`
	// First and Last are null if there is no event.
	First *eventPlace `json:"first"`
	Last  *eventPlace `json:"last"`
	// The most frequent come first.
	Types    []countView `json:"types"`
	Keys     []countView `json:"keys"`
	Actors   []countView `json:"actors"`
	Failures []countView `json:"failures"`
	Log      extentView  `json:"log"`
}

type eventPlace struct {
	Seq  uint64       `json:"seq"`
	Type history.Type `json:"type"`
	Time time.Time    `json:"time"`
}

type countView struct {
	Name   string `json:"name"`
	Events uint64 `json:"events"`
}

// extentView is the whole log, whatever was asked for.
type extentView struct {
	Size uint64 `json:"size"`
	Root string `json:"root"`
	// Pruned of the first PrunedThrough events are gone.
	Pruned        uint64 `json:"pruned"`
	PrunedThrough uint64 `json:"pruned_through"`
	Bytes         uint64 `json:"bytes"`
}

func (a *app) historyStats() *cobra.Command {
	var q history.Query
	var since, until moment
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count events by type, key, actor and failure",
		Long: `Count the events that are in the store by type, key, actor and error code, and say how
large the whole log is: how many events there ever were, the root of its Merkle tree,
how many of them retention has taken, and what the others take up.

A TIME is what 'history list' takes.`,
		Example: `  keyrotor history stats
  keyrotor history stats --key payments --since 30d
  keyrotor history stats -o json | jq .failures`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFilters(cmd, since, until); err != nil {
				return err
			}
			q.Since, q.Until = since.Time, until.Time
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				stats, err := kr.HistoryStats(ctx, q)
				if err != nil {
					return err
				}
				extent, err := kr.HistoryExtent(ctx)
				if err != nil {
					return err
				}
				return a.showStats(viewStats(stats, extent))
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&q.Key, "key", "", "events of this key (`NAME`)")
	flags.Var(&since, "since", "events from this time on")
	flags.Var(&until, "until", "events before this time")
	completeFlag(cmd, "key", a.completeKey)
	return cmd
}

func viewStats(s history.Stats, e history.Extent) statsView {
	view := statsView{
		Events: s.Events, Types: tallied(s.Types), Keys: tallied(s.Keys), Actors: tallied(s.Actors), Failures: tallied(s.Failures),
		Log: viewExtent(e),
	}
	if s.Events > 0 {
		view.First, view.Last = placeOf(s.First), placeOf(s.Last)
	}
	return view
}

func viewExtent(e history.Extent) extentView {
	return extentView{Size: e.Size, Root: e.Root.String(), Pruned: e.Size - e.Events, PrunedThrough: e.Pruned, Bytes: e.Bytes}
}

func placeOf(e history.Event) *eventPlace { return &eventPlace{e.Seq, e.Type, e.Time} }

// tallied are the most frequent first.
func tallied[S ~string](of map[S]uint64) []countView {
	list := make([]countView, 0, len(of))
	for name, n := range of {
		list = append(list, countView{string(name), n})
	}
	slices.SortFunc(list, func(a, b countView) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func (a *app) showStats(v statsView) error {
	if a.JSON {
		return a.Answer(v)
	}
	first, last := "-", "-"
	if v.First != nil {
		first = timeText(v.First.Time) + " (event " + strconv.FormatUint(v.First.Seq, 10) + ")"
		last = timeText(v.Last.Time) + " (event " + strconv.FormatUint(v.Last.Seq, 10) + ")"
	}
	if err := a.Printf(`events    %d
first     %s
last      %s
log       %d events, root %s
pruned    %d
bytes     %d
`, v.Events, first, last, v.Log.Size, v.Log.Root, v.Log.Pruned, v.Log.Bytes); err != nil {
		return err
	}
	for _, table := range []struct {
		of     string
		counts []countView
	}{{"TYPE", v.Types}, {"KEY", v.Keys}, {"ACTOR", v.Actors}, {"FAILURE", v.Failures}} {
		if len(table.counts) == 0 {
			continue
		}
		rows := make([][]string, 0, len(table.counts))
		for _, c := range table.counts {
			rows = append(rows, []string{c.Name, strconv.FormatUint(c.Events, 10)})
		}
		if err := a.Printf("\n"); err != nil {
			return err
		}
		if err := a.Table([]string{table.of, "EVENTS"}, rows); err != nil {
			return err
		}
	}
	return nil
}
