package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
)

// completionPatience is how long a person who pressed Tab waits.
const completionPatience = 2 * time.Second

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print a shell's completion script",
		Long: `Print a shell's completion script. It completes commands, flags, and the names of
keys, providers and plugins of the config. That for bash needs the functions of
the package bash-completion.`,
		Example: `  source <(keyrotor completion bash)
  keyrotor completion zsh >"${fpath[1]}/_keyrotor"
  keyrotor completion fish >~/.config/fish/completions/keyrotor.fish
  keyrotor completion powershell | Out-String | Invoke-Expression`,
		Args: takes(1, 1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return unless(len(args) > 0, shells)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.Out)
			default:
				return misuse(cmd, "there is no completion for %q, only for %s", args[0], strings.Join(shells, ", "))
			}
		},
	}
}

// What follows completes names. Whatever goes wrong, nothing is offered and
// nothing is said: the shell would take a message for a name.

func unless(complete bool, names []string) ([]string, cobra.ShellCompDirective) {
	if complete {
		names = nil
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeKey completes one key name, as an argument or as a flag's value.
func (a *app) completeKey(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return unless(len(args) > 0, a.keyNames(cmd.Context()))
}

// keyNames lists the keys.
func (a *app) keyNames(ctx context.Context) []string {
	return a.askKeyrotor(ctx, func(ctx context.Context, kr *core.Keyrotor) ([]string, error) { return kr.Keys(ctx) })
}

// askKeyrotor answers what ask does, unless that would create a store.
func (a *app) askKeyrotor(ctx context.Context, ask func(context.Context, *core.Keyrotor) ([]string, error)) []string {
	folder, err := a.pluginFolder()
	if err != nil {
		return nil
	}
	if _, err := os.Stat(folder.config.Storage.Path); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	kr, err := core.Open(ctx, folder.config.Path)
	if err != nil {
		return nil
	}
	names, err := ask(ctx, kr)
	if err := errors.Join(err, kr.Close()); err != nil {
		return nil
	}
	return names
}

// completeProvider completes one provider's name.
func (a *app) completeProvider(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return unless(len(args) > 0, a.providerNames())
}

// completeProviderList completes the last of names that are separated by commas.
func (a *app) completeProviderList(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndex(typed, ",")+1]
	var lists []string
	for _, name := range a.providerNames() {
		if !strings.Contains(","+before, ","+name+",") {
			lists = append(lists, before+name)
		}
	}
	return lists, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (a *app) providerNames() []string {
	folder, err := a.pluginFolder()
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range folder.config.Providers {
		names = append(names, p.Name)
	}
	return names
}

// completeSchema completes a pinned plugin type or a provider's name.
func (a *app) completeSchema(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	folder, err := a.pluginFolder()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	if lock, err := folder.lock(); err == nil {
		names = lock.Types()
	}
	for _, p := range folder.config.Providers {
		names = append(names, fmt.Sprintf("%s\tprovider of type %s", p.Name, p.Type))
	}
	return unless(len(args) > 0, names)
}

// completePlugins completes any number of types whose binaries are there.
func (a *app) completePlugins(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	folder, err := a.pluginFolder()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	types, err := catalog.List(folder.dir)
	return unless(err != nil, types)
}
