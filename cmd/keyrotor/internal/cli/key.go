package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
)

func (a *app) keyCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "key",
		Short: "Create, show, rotate, migrate and destroy keys",
		Example: `  keyrotor key create payments
  keyrotor key rotate payments --reason emergency --note 'laptop stolen'`,
	}, a.keyCreate(), a.keyImport(), a.keySetup(), a.keyList(), a.keyShow(), a.keyRotate(), a.keyMigrate(), a.keyState(), a.keySet(),
		a.keyDestroy())
}

func (a *app) keyCreate() *cobra.Command {
	var options core.KeyOptions
	var limit limitFlag
	algorithm := newChoice(string(keyring.AES256GCM), string(keyring.AES256GCM), string(keyring.XChaCha20Poly1305))
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a key with its first version",
		Long: `Create a key with its first version. NAME is 1 to 63 of a-z, 0-9, '.' and '-', is
never reused, and stands in every token of the key.

Each version is wrapped by every provider named, so that each of them alone can
open it. Without --wrap-with it is the key's block in the config that decides, and
without that the only provider that there is. The first key of a config makes the
store, too.

A version stops encrypting after as many uses as --hard-limit says, or the key's block
in the config, or 4294967296 (2^32), the most that AES-GCM is good for; an encryption is
a use for each MiB that it begins. 'keyrotor usage' shows how far each version is.`,
		Example: `  keyrotor key create payments
  keyrotor key create sessions --hard-limit 1000000
  keyrotor key create payments --wrap-with prod,dr --note 'card data'`,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("wrap-with") && len(options.WrapWith) == 0 {
				return misuse(cmd, "--wrap-with names no provider")
			}
			options.Algorithm, options.HardLimit = keyring.Algorithm(algorithm.value), uint64(limit)
			return a.withKeyrotorOrNew(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				key, err := kr.CreateKey(ctx, args[0], options)
				if err != nil {
					return err
				}
				return a.keyCreated(key)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&options.WrapWith, "wrap-with", nil, "the `PROVIDERS` that wrap each version, separated by commas")
	flags.Var(&algorithm, "algorithm", "the cipher of its versions")
	flags.Var(&limit, "hard-limit", "let a version encrypt `NUMBER` times at most (default: 4294967296)")
	flags.StringVar(&options.Note, "note", "", "`TEXT` for the history; not secret")
	completeFlag(cmd, "wrap-with", a.completeProviderList)
	completeChoice(cmd, "algorithm", &algorithm)
	return cmd
}

func (a *app) keyList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List the keys",
		Example:           `  keyrotor key list`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeyrotor(cmd, a.listKeys)
		},
	}
}

func (a *app) keyShow() *cobra.Command {
	var version versionFlag
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a key, its versions and their wraps",
		Long: `Show a key, its versions and their wraps. With --version, show everything about one
version: its dates, what it can be used for, its uses, its wraps, and the events of the
history that are about it, the newest first.`,
		Example: `  keyrotor key show payments
  keyrotor key show payments --version 3
  keyrotor key show payments -o json | jq .primary`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				if version != 0 {
					info, err := kr.VersionInfo(ctx, args[0], uint32(version))
					if err != nil {
						return err
					}
					return a.showVersion(info)
				}
				key, err := kr.Describe(ctx, args[0])
				if err != nil {
					return err
				}
				return a.showKey(key)
			})
		},
	}
	cmd.Flags().Var(&version, "version", "show this version")
	completeFlag(cmd, "version", func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		return unless(len(args) != 1, a.versionNames(cmd.Context(), args))
	})
	return cmd
}

func (a *app) keyRotate() *cobra.Command {
	reason := newChoice(string(keyring.ReasonManual), string(keyring.ReasonManual), string(keyring.ReasonEmergency))
	var note string
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Make a new version of a key, and make it the primary",
		Long: `Make a new version of a key, and make it the primary: new values are encrypted
under it. Values of the versions before stay readable; 'keyrotor reencrypt' brings
them to the new one.

While another process works on the key this waits, as long as --timeout allows. If
that process rotated the key, nothing more is done and the code is "rotated".`,
		Example: `  keyrotor key rotate payments
  keyrotor key rotate payments --reason emergency --note 'laptop stolen' -o json`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				result, err := kr.Rotate(ctx, args[0], keyring.Reason(reason.value), note)
				if err != nil {
					return err
				}
				return a.keyRotated(result, reason.value)
			})
		},
	}
	cmd.Flags().Var(&reason, "reason", "why the key is rotated")
	cmd.Flags().StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	completeChoice(cmd, "reason", &reason)
	return cmd
}
