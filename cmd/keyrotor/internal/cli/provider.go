package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
)

type providerLine struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// checkLine is what one provider answered, or why it did not.
type checkLine struct {
	Name     string `json:"name"`
	Plugin   string `json:"plugin"`
	PID      int    `json:"pid,omitempty"`
	Identity string `json:"identity"`
	Account  string `json:"account"`
	// Latency is in milliseconds, as the plugin measured it.
	Latency float64  `json:"latency_ms"`
	OK      bool     `json:"ok"`
	Error   *failure `json:"error,omitempty"`
}

func (a *app) providerCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "provider",
		Short: "List, describe and check providers",
		Example: `  keyrotor provider check --deep
  keyrotor provider schema local`,
	}, a.providerList(), a.providerSchema(), a.providerCheck())
}

func (a *app) providerList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List the providers of the config",
		Example:           `  keyrotor provider list`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			folder, err := a.pluginFolder()
			if err != nil {
				return err
			}
			lines, rows := []providerLine{}, [][]string{}
			for _, p := range folder.config.Providers {
				lines = append(lines, providerLine{p.Name, p.Type})
				rows = append(rows, []string{p.Name, p.Type})
			}
			if a.JSON {
				return a.Answer(map[string][]providerLine{"providers": lines})
			}
			return a.Table([]string{"NAME", "TYPE"}, rows)
		},
	}
}

func (a *app) providerSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema TYPE|NAME",
		Short: "Show what a provider block may contain",
		Long: `Show what the block of a provider type may contain, in the form of a config file. The
name of a provider stands for its type. The plugin must be pinned; it need not run.`,
		Example: `  keyrotor provider schema local
  keyrotor provider schema local -o json`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeSchema,
		RunE: func(cmd *cobra.Command, args []string) error {
			folder, err := a.pluginFolder()
			if err != nil {
				return err
			}
			typ := folder.typeOf(args[0])
			schema, err := a.schema(cmd.Context(), folder, typ)
			if err != nil {
				return err
			}
			if a.JSON {
				return a.Answer(schema)
			}
			return a.Printf("%s", schemaText(typ, schema))
		},
	}
}

// schema asks plugins.lock, and the plugin only if the lock does not know.
func (a *app) schema(ctx context.Context, folder pluginFolder, typ string) (schema provider.Schema, err error) {
	lock, err := folder.lock()
	if err != nil {
		return provider.Schema{}, err
	}
	plugins, err := catalog.New(catalog.Config{PluginDir: folder.dir, Lock: lock, Log: a.log, Reattach: a.reattach})
	if err != nil {
		return provider.Schema{}, err
	}
	defer func() { err = errors.Join(err, plugins.Close()) }()
	schema, err = plugins.Schema(ctx, typ)
	return withoutSecrets(schema), err
}

func (a *app) providerCheck() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use:   "check [NAME]",
		Short: "Ask key managers whether they are there, and who we are to them",
		Long: `Ask key managers whether they are there, and who we are to them: all of the
config's, or one. --deep wraps and unwraps a value as well, which some key managers
charge for. The exit code is 1 if one of them is not in order.`,
		Example: `  keyrotor provider check
  keyrotor provider check prod --deep -o json`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeProvider,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withProviders(cmd, func(ctx context.Context, setup *core.Setup) error {
				names := args
				if len(names) == 0 {
					names = setup.Catalog.Names()
				}
				lines, err := check(ctx, setup.Catalog, names, deep)
				if err != nil {
					return err
				}
				return a.showChecks(lines)
			})
		},
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "wrap and unwrap a value as well")
	return cmd
}

// check asks all of them at once.
func check(ctx context.Context, plugins *catalog.Catalog, names []string, deep bool) ([]checkLine, error) {
	lines := make([]checkLine, len(names))
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, name := range names {
		p, err := plugins.Provider(name)
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			answer, err := p.Check(ctx, provider.CheckRequest{Deep: deep})
			pid, _ := plugins.PID(name)
			lines[i] = checkLine{
				Name: name, Plugin: p.Type(), PID: pid, Identity: answer.Identity, Account: answer.Account,
				Latency: milliseconds(answer.Latency), OK: err == nil,
			}
			if err != nil {
				f := describe(ctx, err)
				lines[i].Error = &f
			}
		})
	}
	wg.Wait()
	return lines, ctx.Err()
}

func (a *app) showChecks(lines []checkLine) error {
	failed := 0
	var rows [][]string
	for _, l := range lines {
		row := []string{l.Name, l.Plugin, "-", "-", "-", "-", "ok"}
		if l.PID > 0 {
			row[2] = strconv.Itoa(l.PID)
		}
		if l.OK {
			row[3], row[4], row[5] = dash(l.Identity), dash(l.Account), fmt.Sprintf("%g ms", l.Latency)
		} else {
			row[6] = l.Error.Code
			failed++
		}
		rows = append(rows, row)
	}
	if a.JSON {
		if err := a.Answer(map[string][]checkLine{"providers": lines}); err != nil {
			return err
		}
	} else {
		for _, l := range lines {
			if !l.OK {
				a.Hint("%s", l.Error.text())
			}
		}
		if err := a.Table([]string{"NAME", "PLUGIN", "PID", "IDENTITY", "ACCOUNT", "LATENCY", "STATUS"}, rows); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %s", errUnhealthy, failed, count(len(lines), "provider"))
	}
	return nil
}

// milliseconds has three decimals.
func milliseconds(d time.Duration) float64 { return math.Round(float64(d.Microseconds())) / 1000 }
