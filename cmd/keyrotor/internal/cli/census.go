package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/reencrypt"
)

func (a *app) censusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "census [PATH]...",
		Short: "Count the tokens in files by key and version",
		Long: `Count the tokens in files, and in the files below folders, by key and version,
without decrypting any. Tokens of no known version are counted as unknown and
listed; so are files that cannot be read.

` + pathsNote + exitCodesNote,
		Example: `  keyrotor census .
  keyrotor census
  keyrotor census . -o json | jq .keys.payments`,
		Args: takes(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				paths, err := pathsOr(cmd, args, kr)
				if err != nil {
					return err
				}
				progress, done := a.filesProgress()
				report, err := reencrypt.Census(ctx, kr, paths, progress)
				done()
				return errors.Join(a.showCensus(report), err)
			})
		},
	}
}

// pathsNote stands in the help of commands that work on files.
const pathsNote = `Without PATH these are the files of the config's data blocks.

`

// pathsOr answers the arguments, or without any the registered data.
func pathsOr(cmd *cobra.Command, args []string, kr *core.Keyrotor) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	paths := kr.Config.DataPaths()
	if len(paths) == 0 {
		return nil, misuse(cmd, "no PATH is given, and no data block in the config names one")
	}
	return paths, nil
}

// filesProgress answers what shows how far a run over files is, nil if nobody
// watches, and what ends the show.
func (a *app) filesProgress() (progress func(reencrypt.Progress), done func()) {
	bar := a.Progress()
	if bar == nil {
		return nil, func() {}
	}
	return func(p reencrypt.Progress) { bar.Set(p.File, p.Bytes, p.TotalBytes) }, bar.Close
}

func (a *app) showCensus(r reencrypt.CensusReport) error {
	if a.JSON {
		if err := a.Answer(r); err != nil {
			return err
		}
	} else if err := a.tabulateCensus(r); err != nil {
		return err
	}
	if len(r.Failed) > 0 {
		return &partlyError{fmt.Sprintf("%s; %s of no known version", count(len(r.Failed), "failure"), count(r.Unknown, "token"))}
	}
	return nil
}

func (a *app) tabulateCensus(r reencrypt.CensusReport) error {
	a.listFailures(r.Failed)
	a.sumSkipped(r.Skipped)
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(r.Keys)) {
		for _, version := range slices.Sorted(maps.Keys(r.Keys[key])) {
			rows = append(rows, []string{key, keyring.VersionLabel(version), strconv.Itoa(r.Keys[key][version])})
		}
	}
	if len(rows) > 0 {
		if err := a.Table([]string{"KEY", "VERSION", "TOKENS"}, rows); err != nil {
			return err
		}
	}
	return a.Printf("%s, %s, %d unknown, %d skipped\n", count(r.Files, "file"), count(r.Tokens, "token"), r.Unknown, len(r.Skipped))
}
