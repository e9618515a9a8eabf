package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/config"
)

type initAnswer struct {
	Config  string   `json:"config"`
	Plugins []string `json:"plugins"`
}

func (a *app) initCommand() *cobra.Command {
	var options core.InitOptions
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a folder ready for use: config, plugin pins, store",
		Long: `Make a folder ready for use: DIR/keyrotor.hcl with a local provider and a SQLite
store, DIR/plugins.lock that pins the plugins as they are now, the store, and a
key-encryption key. The plugins are those in the folder "plugins" beside this
program, unless --plugins names another.

A folder that has a config already is refused. The answer is the config's path.

With --seal the key-encryption keys are protected by the passphrase in the
environment variable ` + core.PassphraseVariable + `, which every later command needs, too.`,
		Example: `  keyrotor init keys
  keyrotor init keys --plugins /usr/lib/keyrotor/plugins

  read -rs ` + core.PassphraseVariable + ` && export ` + core.PassphraseVariable + `
  keyrotor init keys --seal`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return misuse(cmd, "DIR is empty; '.' is the current folder")
			}
			if options.Seal && a.getenv(core.PassphraseVariable) == "" {
				return misuse(cmd, "--seal takes the passphrase from the environment variable %s, which is not set", core.PassphraseVariable)
			}
			path, err := core.Init(cmd.Context(), args[0], options)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w; build the plugins, or name their folder with --plugins", err)
			}
			if err != nil {
				return err
			}
			return a.initialized(path, options.Seal)
		},
	}
	cmd.Flags().StringVar(&options.PluginDir, "plugins", "", "the `DIR` that holds the plugins (default: plugins beside this program)")
	cmd.Flags().BoolVar(&options.Seal, "seal", false, "protect the key-encryption keys by a passphrase from "+core.PassphraseVariable)
	return cmd
}

func (a *app) initialized(path string, sealed bool) error {
	file, err := config.Load(path)
	if err != nil {
		return err
	}
	lock, err := catalog.ReadLock(file.Plugins.Lock)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.Answer(initAnswer{Config: path, Plugins: notNil(lock.Types())})
	}
	if err := a.Printf("%s\n", path); err != nil {
		return err
	}
	a.Hint("Pinned plugins: %s", joined(lock.Types()))
	if sealed {
		a.Hint("Sealed by the passphrase in %s: without it, nothing can be decrypted.", core.PassphraseVariable)
	}
	a.Hint(`
Next:
  export %s=%s
  keyrotor key create payments
  printf 's3cret' | keyrotor encrypt payments

Back up %s: whoever loses it loses what it protects.`, configVariable, shellQuoted(path), filepath.Dir(path))
	return nil
}
