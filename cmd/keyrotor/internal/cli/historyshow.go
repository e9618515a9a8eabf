package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// recordsView are events with their proofs. Its JSON form is stable.
type recordsView struct {
	Log     logView      `json:"log"`
	Records []recordView `json:"records"`
}

// logView is the tree that the proofs lead to.
type logView struct {
	Size uint64 `json:"size"`
	Root string `json:"root"`
}

type recordView struct {
	Seq uint64 `json:"seq"`
	// Event is as stored, null where retention took it.
	Event  json.RawMessage `json:"event"`
	Pruned bool            `json:"pruned"`
	Leaf   string          `json:"leaf"`
	// Proof are the hashes that lead from the leaf to the root, as RFC 6962 has them.
	Proof []string `json:"proof"`
}

func (a *app) historyShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show SEQ|OPERATION",
		Short: "Show events whole, and prove that they are part of the log",
		Long: `Show one event whole, by its number, or all events of an operation, the oldest first.
Each is compared with its leaf in the log's Merkle tree, and the leaf is proved to lead
to the root: an event that somebody edited is not shown, and the code is "store_damaged".

Of an event that retention has taken, the leaf is left. Whoever kept the event's bytes,
e.g. from 'history list -o json', can prove with it what they were.`,
		Example: `  keyrotor history show 42
  keyrotor history show 42 -o json | jq '.records[0].event'
  keyrotor history show 0b5fbd0e-2b6c-4e5d-8f0e-0f6f3f1f8f77`,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				records, err := recordsOf(ctx, kr, args[0])
				if err != nil {
					return err
				}
				return a.showRecords(records)
			})
		},
	}
}

// recordsOf reads the event with a number, or those of an operation, and checks them.
func recordsOf(ctx context.Context, kr *core.Keyrotor, which string) ([]history.Record, error) {
	var seqs []uint64
	if seq, err := strconv.ParseUint(which, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		seqs = []uint64{min(seq, math.MaxInt64)}
	} else {
		err := history.Walk(ctx, kr.History, history.Query{Operation: which}, func(e history.Event) { seqs = append(seqs, e.Seq) })
		if err != nil {
			return nil, err
		}
		if len(seqs) == 0 {
			return nil, fmt.Errorf("%w: none is of the operation %q: they may have been pruned", history.ErrNoEvent, which)
		}
		slices.Reverse(seqs)
	}
	records := make([]history.Record, 0, len(seqs))
	var size uint64 // of the log when the first is read: it may grow meanwhile
	for _, seq := range seqs {
		r, err := kr.HistoryRecord(ctx, seq, size)
		if err != nil {
			return nil, err
		}
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		records, size = append(records, r), r.Size
	}
	return records, nil
}

func (a *app) showRecords(records []history.Record) error {
	if a.JSON {
		last := records[len(records)-1]
		view := recordsView{Log: logView{last.Size, last.Root.String()}}
		for _, r := range records {
			v := recordView{Seq: r.Seq, Event: r.Bytes, Pruned: r.Bytes == nil, Leaf: r.Leaf.String(), Proof: []string{}}
			for _, h := range r.Proof {
				v.Proof = append(v.Proof, h.String())
			}
			view.Records = append(view.Records, v)
		}
		return a.Answer(view)
	}
	for i, r := range records {
		lines, err := recordLines(r)
		if err != nil {
			return err
		}
		if i > 0 {
			lines = "\n" + lines
		}
		if err := a.Printf("%s", lines); err != nil {
			return err
		}
	}
	return nil
}

// recordLines says everything about an event, a line each.
func recordLines(r history.Record) (string, error) {
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-18s %s\n", name, console.Printable(text))
		}
	}
	line("event", fmt.Sprintf("%d of %d", r.Seq, r.Size))
	if r.Bytes == nil {
		line("pruned", "retention has taken it, and left its leaf")
	} else {
		e, err := history.Decode(r.Bytes)
		if err != nil {
			return "", err
		}
		eventLines(e, line)
	}
	line("leaf", r.Leaf.String())
	line("proof", fmt.Sprintf("%s from the leaf to the root %v: it is part of the log", count(len(r.Proof), "step"), r.Root))
	return b.String(), nil
}

func eventLines(e history.Event, line func(name, text string)) {
	line("type", string(e.Type))
	line("time", timeText(e.Time))
	line("actor", e.Actor)
	line("operation", e.Operation)
	line("key", e.Key)
	line("key id", e.KeyID)
	line("version", versions(e))
	line("reason", e.Reason)
	line("note", e.Note)
	line("about", what(e))
	line("provider", e.Provider)
	line("KEK version", e.KEKVersion)
	if e.Count > 0 {
		line("count", strconv.FormatUint(e.Count, 10))
	}
	line("error", e.ErrorCode)
	line("digest of the key", e.Digest)
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		line("detail", name+" = "+e.Details[name])
	}
}
