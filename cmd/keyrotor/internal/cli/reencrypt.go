package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/reencrypt"
)

func (a *app) reencryptCommand() *cobra.Command {
	var (
		aad    aadFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "reencrypt [PATH]...",
		Short: "Bring the tokens in files to their keys' primary versions",
		Long: `Bring the tokens in files, and in the files below folders, to their keys' primary
versions. Tokens may stand anywhere in a text file; no byte outside of a token
changes. A file is replaced as a whole or not at all, and keeps its mode and owner;
files without an old token are not touched. Symbolic links are neither followed nor
replaced.

A token that cannot be read (unknown key, another AAD, damaged) stays as it is and
is listed; so is a file that cannot be processed. The rest goes on.

` + pathsNote + exitCodesNote,
		Example: `  keyrotor reencrypt . --dry-run
  keyrotor reencrypt
  keyrotor reencrypt .env deploy/ -o json
  keyrotor reencrypt customers/42.yaml --aad customer/42`,
		Args: takes(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bound, err := aad.read(cmd)
			if err != nil {
				return err
			}
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				paths, err := pathsOr(cmd, args, kr)
				if err != nil {
					return err
				}
				job := reencrypt.Job{Keys: kr, AAD: bound, DryRun: dryRun}
				progress, done := a.filesProgress()
				job.Progress = progress
				report, err := job.Run(ctx, paths)
				done()
				return errors.Join(a.showReport(report), err)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "do everything but write")
	aad.add(cmd)
	return cmd
}

func (a *app) showReport(r reencrypt.Report) error {
	if a.JSON {
		if err := a.Answer(r); err != nil {
			return err
		}
	} else {
		a.listFailures(r.Failed)
		a.sumSkipped(r.Skipped)
		done := "re-encrypted"
		if r.DryRun {
			done = "to re-encrypt"
		}
		if err := a.Printf("%s, %s, %d %s, %d failed, %d skipped\n",
			count(r.Files, "file"), count(r.Tokens, "token"), r.Reencrypted, done, len(r.Failed), len(r.Skipped)); err != nil {
			return err
		}
	}
	if n := len(r.Failed); n > 0 {
		return &partlyError{fmt.Sprintf("%s; what they name stayed as it was", count(n, "failure"))}
	}
	return nil
}

// listFailures writes one failure a line, in the form of a compiler's messages.
func (a *app) listFailures(failed []reencrypt.Failure) {
	for _, f := range failed {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		a.Hint("%s: %s: %s", console.Printable(place), f.Code, console.Printable(f.Error))
	}
}

// sumSkipped says why files were passed over. There may be very many, so it does
// not name them.
func (a *app) sumSkipped(skipped []reencrypt.Skip) {
	if len(skipped) == 0 {
		return
	}
	reasons := map[string]int{}
	for _, s := range skipped {
		reasons[s.Reason]++
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		parts = append(parts, fmt.Sprintf("%s (%d)", reason, reasons[reason]))
	}
	a.Hint("skipped: %s; -o json names them", strings.Join(parts, ", "))
}
