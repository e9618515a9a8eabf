package cli

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/backup"
)

// standard stands for standard input or output where a file is named.
const standard = "-"

func (a *app) backupCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "backup",
		Short: "Back up the store, restore it, look at backups",
		Long: `Back up the store, restore it, look at backups.

The store holds the wraps of every key: whoever loses it can decrypt nothing, whatever
the key manager still has. A backup is a copy of it, encrypted under a secret of its
own that the config's providers wrap, so that restoring needs one of them. The
key-encryption keys themselves are never in a backup. Those of a local provider are in
a file, which needs a backup of its own: keep the two apart, since whoever has both
can open everything.

After a restore all that was encrypted before the backup decrypts. Encryption is
refused until 'keyrotor recover'.`,
		Example: `  keyrotor backup create /mnt/safe/keyrotor-2026-03-01.backup
  keyrotor backup verify /mnt/safe/keyrotor-2026-03-01.backup`,
	}, a.backupCreate(), a.backupRestore(), a.backupShow(), a.backupVerify())
}

func (a *app) backupCreate() *cobra.Command {
	var options core.BackupOptions
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Write a backup of the store, while it is in use",
		Long: `Write a backup of the store to a new file, while every process goes on using the
store. FILE appears whole or not at all, and replaces nothing. With '-' the backup goes
to standard output.

Every provider of the config wraps the backup's secret, unless --wrap-with names some;
each of them alone can open the backup, and all of them must be reachable now. The
key-encryption keys are NOT in it: with a local provider, back up its file, too, and
keep it apart.`,
		Example: `  keyrotor backup create keyrotor.backup
  keyrotor backup create keyrotor.backup --wrap-with prod,dr
  keyrotor backup create - | ssh vault 'cat >keyrotor.backup'`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case args[0] == "":
				return misuse(cmd, "FILE is empty; '-' is standard output")
			case cmd.Flags().Changed("wrap-with") && len(options.WrapWith) == 0:
				return misuse(cmd, "--wrap-with names no provider")
			case args[0] == standard && a.JSON:
				return misuse(cmd, "standard output takes the backup, which leaves no place for JSON")
			case args[0] == standard && a.OutTerminal():
				return misuse(cmd, "not writing a backup to a terminal; redirect standard output")
			}
			options.Writer = a.version
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				return a.createBackup(ctx, kr, args[0], options)
			})
		},
	}
	cmd.Flags().StringSliceVar(&options.WrapWith, "wrap-with", nil, "the `PROVIDERS` that can open the backup, separated by commas (default: all)")
	completeFlag(cmd, "wrap-with", a.completeProviderList)
	return cmd
}

func (a *app) createBackup(ctx context.Context, kr *core.Keyrotor, file string, o core.BackupOptions) error {
	bar := a.Progress()
	o.Progress = func(done, total uint64) { bar.Set("backup", int64(done), int64(total)) }
	var h backup.Header
	var err error
	if file == standard {
		h, err = kr.WriteBackup(ctx, a.Out, o)
	} else {
		h, err = kr.CreateBackup(ctx, file, o)
	}
	bar.Close()
	if err != nil {
		return err
	}
	return a.backupCreated(kr, file, h)
}

func (a *app) backupRestore() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the config's store out of a backup",
		Long: `Make the config's store out of a backup; '-' is standard input. Where a store is
already, nothing is done: move it away first, with the files beside it. The store
appears whole or not at all.

First end every process that uses the lost store: one that still has the old file
open goes on to encrypt under versions that nobody will find.

All that was encrypted before the backup decrypts. Versions that were made after it
are lost, and so is what they encrypted: those tokens answer unknown_version. No key
encrypts or rotates until 'keyrotor recover'; the code is "restored".

It needs one of the key managers that the backup names ('keyrotor backup show'), as a
provider of the same name in the config.`,
		Example: `  keyrotor backup restore keyrotor.backup
  ssh vault 'cat keyrotor.backup' | keyrotor backup restore -`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withProviders(cmd, func(ctx context.Context, s *core.Setup) error {
				return a.fromBackup(ctx, args[0], func(in io.Reader) error {
					bar := a.Progress()
					restored, err := s.RestoreBackup(ctx, in, func(done, total uint64) { bar.Set("restore", int64(done), int64(total)) })
					bar.Close()
					if err != nil {
						return err
					}
					return a.backupRestored(s.Config.Storage.Path, restored)
				})
			})
		},
	}
}

func (a *app) backupShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a backup says of itself",
		Long: `Show what a backup says of itself: when and from which store it was made, and which
key managers can open it. That needs no config and no key manager, and proves nothing:
'keyrotor backup verify' does. '-' is standard input.`,
		Example: `  keyrotor backup show keyrotor.backup
  keyrotor backup show keyrotor.backup -o json | jq .wraps`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.fromBackup(cmd.Context(), args[0], func(in io.Reader) error {
				b, err := backup.Read(in)
				if err != nil {
					return err
				}
				return a.showBackup(b.Header)
			})
		},
	}
}

func (a *app) backupVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "Read a backup to its end, and see that it is as it was written",
		Long: `Read a backup to its end, and see that every byte is as it was written and that a
key manager opens it. Nothing is written. '-' is standard input.`,
		Example: `  keyrotor backup verify keyrotor.backup`,
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withProviders(cmd, func(ctx context.Context, s *core.Setup) error {
				return a.fromBackup(ctx, args[0], func(in io.Reader) error {
					bar := a.Progress()
					h, err := s.VerifyBackup(ctx, in, func(done, total uint64) { bar.Set("verify", int64(done), int64(total)) })
					bar.Close()
					if err != nil {
						return err
					}
					return a.backupVerified(h)
				})
			})
		},
	}
}

// fromBackup calls f with the file of a backup, or with standard input.
func (a *app) fromBackup(ctx context.Context, file string, f func(io.Reader) error) error {
	if file == standard {
		in := a.stdin(ctx)
		defer in.Close()
		return f(in)
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	return f(in)
}
