package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/destruction"
)

func (a *app) keyDestroy() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "destroy",
		Short: "Destroy a version that nothing needs any more",
		Long: `Destroy a version that nothing needs any more. It is scheduled first; then it lies in
quarantine for a while, where decryption is refused and every attempt is counted; then
it is destroyed. Both times nobody may hold uses of it, and a census of the files in
the config's data blocks must find no token of it, and nothing that it cannot account
for. Tokens elsewhere, and values in the binary form, are not counted: that is what
the quarantine is for.

Destroying deletes the version's wraps from the store. A backup of the database from
before, together with the key-encryption key, still opens the version.`,
		Example: `  keyrotor key destroy schedule payments 1
  keyrotor key destroy run payments 1 -o json >receipt.json`,
	}, a.destroySchedule(), a.destroyCancel(), a.destroyRun(), a.destroyList(), a.destroyReceipt())
}

// destroying calls f, which answers how to show what it did, with what a config file
// says of destruction.
func (a *app) destroying(cmd *cobra.Command, f func(context.Context, *destruction.Destroyer) (show func() error, err error)) error {
	return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
		progress, done := a.filesProgress()
		d, err := kr.Destruction(progress)
		if err != nil {
			return err
		}
		show, err := f(ctx, d)
		done()
		if err != nil {
			return err
		}
		return show()
	})
}

// destroyingVersion is destroying for the commands about one version.
func (a *app) destroyingVersion(cmd *cobra.Command, args []string, f func(ctx context.Context, d *destruction.Destroyer, name string, version uint32) (show func() error, err error)) error {
	version, err := versionArg(cmd, args[1])
	if err != nil {
		return err
	}
	return a.destroying(cmd, func(ctx context.Context, d *destruction.Destroyer) (func() error, error) {
		return f(ctx, d, args[0], version)
	})
}

// span is a length of time as a flag.
type span time.Duration

// String implements pflag.Value.
func (s *span) String() string {
	if d := time.Duration(*s); d%(24*time.Hour) != 0 {
		return d.String()
	}
	return fmt.Sprintf("%dd", time.Duration(*s)/(24*time.Hour))
}

// Type implements pflag.Value.
func (s *span) Type() string { return "DURATION" }

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, err := parseSpan(text)
	if err != nil {
		return fmt.Errorf("it is a length of time, like 36h or 30d")
	}
	*s = span(d)
	return nil
}

func (a *app) destroySchedule() *cobra.Command {
	after, note := span(destruction.DefaultPeriod), ""
	cmd := &cobra.Command{
		Use:   "schedule NAME VERSION",
		Short: "Put a version into quarantine, to be destroyed later",
		Long: `Put a version that is deactivated, suspended or compromised into quarantine, to be
destroyed by 'keyrotor key destroy run' when the period is over. From then on nothing
decrypts with it; 'keyrotor key destroy cancel' leads back.

It is refused (code destruction_refused) while uses of the version are out on lease,
while a token of it is in the files of the config's data blocks, or a file or token
there cannot be accounted for. Every reason is listed.`,
		Example: `  keyrotor key destroy schedule payments 1
  keyrotor key destroy schedule payments 1 --after 90d --note 'retention is over'`,
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeVersion,
		RunE: func(cmd *cobra.Command, args []string) error {
			if time.Duration(after) < destruction.MinPeriod {
				return misuse(cmd, "--after is %s; the least is %s", &after, destruction.MinPeriod)
			}
			return a.destroyingVersion(cmd, args, func(ctx context.Context, d *destruction.Destroyer, name string, version uint32) (func() error, error) {
				s, err := d.Schedule(ctx, name, version, time.Duration(after), note)
				return func() error { return a.scheduled(s) }, err
			})
		},
	}
	cmd.Flags().Var(&after, "after", "how long it stays in quarantine, e.g. 36h or 30d")
	cmd.Flags().StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	return cmd
}

func (a *app) destroyCancel() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:               "cancel NAME VERSION",
		Short:             "Take a version out of quarantine",
		Long:              `Take a version out of quarantine, back to the state that it was in before.`,
		Example:           `  keyrotor key destroy cancel payments 1 --note 'the archive still has some'`,
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeVersion,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.destroyingVersion(cmd, args, func(ctx context.Context, d *destruction.Destroyer, name string, version uint32) (func() error, error) {
				c, err := d.Cancel(ctx, name, version, note)
				return func() error { return a.canceled(c) }, err
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	return cmd
}

func (a *app) destroyRun() *cobra.Command {
	var (
		force bool
		note  string
	)
	cmd := &cobra.Command{
		Use:   "run NAME VERSION",
		Short: "Destroy a version whose quarantine is over",
		Long: `Destroy a version whose quarantine is over: delete its wraps for good. The answer is
the receipt, which 'keyrotor key destroy receipt' gives again.

It is refused (code destruction_refused) before the version is due, after any attempt
to decrypt with it, and for every reason that scheduling is.

--force destroys a version that may be scheduled, or is, without waiting, and looks
neither at attempts nor at files: what is still encrypted under it is lost. It needs
--note, and the history says that it was forced. Uses that are out on lease stop it
all the same.`,
		Example: `  keyrotor key destroy run payments 1 -o json >receipt.json
  keyrotor key destroy run payments 1 --force --note 'ordered by the data protection officer'`,
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeVersion,
		RunE: func(cmd *cobra.Command, args []string) error {
			if force && note == "" {
				return misuse(cmd, "--force needs --note, to say why")
			}
			return a.destroyingVersion(cmd, args, func(ctx context.Context, d *destruction.Destroyer, name string, version uint32) (func() error, error) {
				run := d.Run
				if force {
					run = d.Force
				}
				r, err := run(ctx, name, version, note)
				return func() error { return a.showReceipt(r) }, err
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not look at the period, attempts and files")
	cmd.Flags().StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	return cmd
}

func (a *app) destroyList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List the versions in quarantine",
		Example:           `  keyrotor key destroy list`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.destroying(cmd, func(ctx context.Context, d *destruction.Destroyer) (func() error, error) {
				list, err := d.List(ctx)
				return func() error { return a.listScheduled(list) }, err
			})
		},
	}
}

func (a *app) destroyReceipt() *cobra.Command {
	return &cobra.Command{
		Use:   "receipt NAME VERSION",
		Short: "Show the receipt of a version that was destroyed",
		Long: `Show the receipt of a version that was destroyed, from its event in the history. The
head of the history in it is today's.`,
		Example:           `  keyrotor key destroy receipt payments 1 -o json`,
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeVersion,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.destroyingVersion(cmd, args, func(ctx context.Context, d *destruction.Destroyer, name string, version uint32) (func() error, error) {
				r, err := d.Receipt(ctx, name, version)
				return func() error { return a.showReceipt(r) }, err
			})
		},
	}
}
