package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// stateView is the answer of `key state`. Its JSON form is stable.
type stateView struct {
	Key     string        `json:"key"`
	Version uint32        `json:"version"`
	From    keyring.State `json:"from"`
	State   keyring.State `json:"state"`
	// Primary is the key's afterwards, 0 if it has none.
	Primary uint32 `json:"primary"`
	// Deposed was the primary until this version became it; 0 if there was none.
	Deposed uint32 `json:"deposed"`
	Changed bool   `json:"changed"`
	// Operation is empty if nothing was changed.
	Operation string `json:"operation_id"`
}

// settableStates are those that `key state` may lead to.
func settableStates() []string {
	return []string{string(keyring.Active), string(keyring.Deactivated), string(keyring.Suspended), string(keyring.Compromised)}
}

func (a *app) keyState() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "state NAME VERSION " + strings.Join(settableStates(), "|"),
		Short: "Suspend, reactivate, deactivate a version, or mark it as compromised",
		Long: `Suspend, reactivate or deactivate a version of a key, or mark it as compromised;
'keyrotor help states' says what each state means and what may follow it. VERSION is a
number, e.g. 3 or v3. It acts in other processes within seconds.

A primary that leaves the state active leaves its key without one: nothing is
encrypted until the key is rotated. A suspended version that becomes active again is
the primary; the one that was is deactivated.

Versions are quarantined and destroyed by 'keyrotor key destroy'.`,
		Example: `  keyrotor key state payments 3 compromised --note 'laptop stolen'
  keyrotor key state payments v2 suspended`,
		Args:              takes(3, 3),
		ValidArgsFunction: a.completeState,
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := versionArg(cmd, args[1])
			if err != nil {
				return err
			}
			to := keyring.State(args[2])
			if !to.Valid() {
				return misuse(cmd, "there is no state %q; it is one of %s", args[2], strings.Join(settableStates(), ", "))
			}
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				done, err := kr.SetState(ctx, args[0], version, to, note)
				if err != nil {
					return err
				}
				return a.stateSet(done)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	return cmd
}

// versionArg reads the number of a version.
func versionArg(cmd *cobra.Command, text string) (uint32, error) {
	var v versionFlag
	if err := v.Set(text); err != nil {
		return 0, misuse(cmd, "%q is no version; %s", text, err)
	}
	return uint32(v), nil
}

// versionFlag is the number of a version, which is given with or without the v that
// tokens have before it. 0 is none.
type versionFlag uint32

// String implements pflag.Value.
func (v *versionFlag) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*v), 10)
}

// Type implements pflag.Value.
func (v *versionFlag) Type() string { return "NUMBER" }

// Set implements pflag.Value.
func (v *versionFlag) Set(text string) error {
	n, ok := parseVersion(text)
	if !ok {
		return errors.New("it is a number from 1, e.g. 3 or v3")
	}
	*v = versionFlag(n)
	return nil
}

func parseVersion(text string) (number uint32, ok bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "v"), 10, 32)
	return uint32(n), err == nil && n > 0
}

func (a *app) stateSet(done engine.StateChanged) error {
	if a.JSON {
		return a.Answer(stateView{
			Key: done.Key.Name, Version: done.Version, From: done.From, State: done.To, Primary: done.Key.Primary,
			Deposed: done.Deposed, Changed: done.Operation != "", Operation: done.Operation,
		})
	}
	if done.Operation == "" {
		return a.Printf("key %s: version %d is %s already; nothing was changed\n", done.Key.Name, done.Version, done.To)
	}
	text := fmt.Sprintf("key %s: version %d is %s, before it was %s", done.Key.Name, done.Version, done.To, done.From)
	if done.Deposed > 0 {
		text += fmt.Sprintf("; version %d, the primary until now, is deactivated", done.Deposed)
	}
	if done.Key.Primary == 0 {
		text += "; the key has no primary and encrypts nothing: rotate it"
	}
	if err := a.Printf("%s\n", text); err != nil {
		return err
	}
	if done.Key.Primary == 0 {
		a.Hint("Next: keyrotor key rotate %s", done.Key.Name)
	}
	return nil
}

// completeState completes a key, one of its versions, and a state.
func (a *app) completeState(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) < 2 {
		return a.completeVersion(cmd, args, typed)
	}
	return unless(len(args) > 2, settableStates())
}

// settingView is one changed setting. Its JSON form is stable.
type settingView struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

func (a *app) keySet() *cobra.Command {
	var (
		settings engine.Settings
		least    uint32
		block    bool
		limit    limitFlag
		note     string
	)
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change a key's settings",
		Long: `Change a key's settings. It acts in other processes within seconds.

--min-decrypt-version refuses decryption with the versions below it, whatever their
state; 0 refuses none. --block-reads refuses decryption with compromised versions,
which else goes on, with a warning in the log. Re-encryption reads values, too, so do
these when that is done.

--hard-limit stops a version after so many uses. A version that had as many already
encrypts no more than what processes hold on lease: rotate the key.`,
		Example: `  keyrotor key set payments --min-decrypt-version 4
  keyrotor key set payments --block-reads --note 'all is re-encrypted'
  keyrotor key set payments --block-reads=false
  keyrotor key set payments --hard-limit 1000000`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("min-decrypt-version") {
				settings.MinDecryptVersion = &least
			}
			if cmd.Flags().Changed("block-reads") {
				settings.BlockReads = &block
			}
			if cmd.Flags().Changed("hard-limit") {
				settings.HardLimit = new(uint64(limit))
			}
			if settings == (engine.Settings{}) {
				return misuse(cmd, "no setting is given")
			}
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				done, err := kr.Configure(ctx, args[0], settings, note)
				if err != nil {
					return err
				}
				return a.configured(done)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Uint32Var(&least, "min-decrypt-version", 0, "refuse decryption with versions below `NUMBER`; 0 refuses none")
	flags.BoolVar(&block, "block-reads", false, "refuse decryption with compromised versions")
	flags.Var(&limit, "hard-limit", "let a version encrypt `NUMBER` times at most")
	flags.StringVar(&note, "note", "", "`TEXT` for the history; not secret")
	return cmd
}

func (a *app) configured(done engine.Configured) error {
	if a.JSON {
		changes := make([]settingView, 0, len(done.Changes))
		for _, c := range done.Changes {
			changes = append(changes, settingView(c))
		}
		return a.Answer(struct {
			Key       string        `json:"key"`
			Changes   []settingView `json:"changes"`
			Settings  settingsView  `json:"settings"`
			Operation string        `json:"operation_id"`
		}{done.Key.Name, changes, viewKey(done.Key).Settings, done.Operation})
	}
	if len(done.Changes) == 0 {
		return a.Printf("key %s: the settings are so already; nothing was changed\n", done.Key.Name)
	}
	for _, c := range done.Changes {
		if err := a.Printf("key %s: %s is %s, before it was %s\n", done.Key.Name, c.Name, c.New, c.Old); err != nil {
			return err
		}
	}
	if p := done.Key.Primary; p > 0 && done.Key.Uses[p] >= done.Key.Settings.HardLimit {
		a.Hint("Version %d had %d uses already. Next: keyrotor key rotate %s", p, done.Key.Uses[p], done.Key.Name)
	}
	return nil
}

// completeVersion completes a key and one of its versions.
func (a *app) completeVersion(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeKey(cmd, args, typed)
	}
	return unless(len(args) > 1, a.versionNames(cmd.Context(), args))
}

// versionNames lists the versions of the key that is the first argument, if there is one.
func (a *app) versionNames(ctx context.Context, args []string) []string {
	if len(args) == 0 {
		return nil
	}
	return a.askKeyrotor(ctx, func(ctx context.Context, kr *core.Keyrotor) ([]string, error) {
		key, err := kr.Describe(ctx, args[0])
		var names []string
		for _, v := range slices.Backward(key.Versions) {
			names = append(names, fmt.Sprintf("%d\t%s", v.Number, v.State))
		}
		return names, err
	})
}
