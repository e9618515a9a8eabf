package cli

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/config"
)

// validation is the answer of config validate.
type validation struct {
	Valid    bool             `json:"valid"`
	File     string           `json:"file"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Problem `json:"warnings"`
}

func (a *app) configCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "config",
		Short:   "Check the config file",
		Example: `  keyrotor config validate`,
	}, a.configValidate())
}

func (a *app) configValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate [PATH]",
		Short: "Check a config file, provider blocks included",
		Long: `Check a config file, or a folder of them: the syntax, every block, the provider
blocks against the schemas of their plugins, and that the plugins are pinned. No
key manager is asked, and nothing is created. All problems are listed, with file,
line and column.

Without PATH it is the file that --config or ` + configVariable + ` names.`,
		Example: `  keyrotor config validate
  keyrotor config validate keys/keyrotor.hcl -o json`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				a.global.config = args[0]
			}
			path, err := a.configPath()
			if err != nil {
				return err
			}
			if path, err = filepath.Abs(path); err != nil {
				return err
			}
			return a.validate(cmd, path)
		},
	}
}

func (a *app) validate(cmd *cobra.Command, path string) error {
	answer := validation{File: path, Problems: []config.Problem{}, Warnings: []config.Problem{}}
	err := a.withProviders(cmd, func(_ context.Context, setup *core.Setup) error {
		answer.Warnings = append(answer.Warnings, setup.Warnings...)
		return nil
	})
	answer.Valid = err == nil
	answer.Problems = append(answer.Problems, problems(err)...)
	switch {
	case a.JSON && (answer.Valid || len(answer.Problems) > 0):
		return errors.Join(a.Answer(answer), err)
	case err != nil:
		return err
	default:
		return a.Printf("%s is valid\n", path)
	}
}
