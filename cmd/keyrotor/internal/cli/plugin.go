package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core/catalog"
)

// The statuses of a plugin.
const (
	statusOK        = "ok"
	statusChanged   = "changed"
	statusMissing   = "missing"
	statusNotPinned = "not pinned"
	statusRefused   = "refused"
)

// pluginLine is one plugin: pinned, or lying in the plugin directory, or both.
type pluginLine struct {
	Type    string `json:"type"`
	Path    string `json:"path"`
	Version string `json:"version"`
	Pinned  bool   `json:"pinned"`
	// Status is "ok", "changed", "missing", "not pinned", or "refused" for a file
	// that would not be run whatever its hash.
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`

	// used: a provider of the config is of this type.
	used bool
	err  error
}

func (a *app) pluginCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "plugin",
		Short: "List, pin and verify provider plugins",
		Long: `A plugin is given the credentials of a key manager, so it runs only if plugins.lock
pins its SHA-256. Plugins are the files keyrotor-plugin-TYPE in the config's plugin
directory.`,
		Example: `  keyrotor plugin list
  keyrotor plugin lock local`,
	}, a.pluginList(), a.pluginLock(), a.pluginVerify())
}

func (a *app) pluginList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List the plugins that are pinned or in place",
		Example:           `  keyrotor plugin list`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			lines, err := a.plugins()
			if err != nil {
				return err
			}
			return a.showPlugins(lines)
		},
	}
}

func (a *app) pluginVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Compare the plugins with plugins.lock",
		Long: `Compare the binaries of the plugins with plugins.lock, starting none. The exit code
is 1 if one that is pinned is changed, missing or would be refused, or if one that
the config uses is not pinned. Another that is not pinned is listed; it cannot run.`,
		Example:           `  keyrotor plugin verify`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			lines, err := a.plugins()
			if err != nil {
				return err
			}
			if err := a.showPlugins(lines); err != nil {
				return err
			}
			return verdict(lines)
		},
	}
}

func (a *app) pluginLock() *cobra.Command {
	return &cobra.Command{
		Use:   "lock [TYPE]...",
		Short: "Pin plugins as they are now",
		Long: `Pin plugins in plugins.lock as they are now: those named, or all in the plugin
directory. Each is started once and asked about itself. Review a binary before you
pin it: from then on it is given the credentials of a key manager.`,
		Example: `  keyrotor plugin lock
  keyrotor plugin lock vault-transit`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completePlugins,
		RunE:              a.lockPlugins,
	}
}

func (a *app) lockPlugins(cmd *cobra.Command, types []string) error {
	folder, err := a.pluginFolder()
	if err != nil {
		return err
	}
	lock, err := folder.lock()
	if errors.Is(err, fs.ErrNotExist) {
		lock, err = catalog.NewLock(), nil
	}
	if err != nil {
		return err
	}
	if len(types) == 0 {
		if types, err = catalog.List(folder.dir); err != nil {
			return err
		}
	}
	if len(types) == 0 {
		return fmt.Errorf("no plugins lie in %s; put them there, or name their folder in the config's plugins block", folder.dir)
	}
	if err := lock.Pin(cmd.Context(), folder.dir, a.log, types...); err != nil {
		return err
	}
	if err := lock.Write(folder.config.Plugins.Lock); err != nil {
		return err
	}
	a.Hint("Pinned in %s", folder.config.Plugins.Lock)
	lines, err := a.plugins()
	if err != nil {
		return err
	}
	lines = slices.DeleteFunc(lines, func(l pluginLine) bool { return !slices.Contains(types, l.Type) })
	return a.showPlugins(lines)
}

// plugins compares plugins.lock with what the config uses and with what lies in the
// plugin directory.
func (a *app) plugins() ([]pluginLine, error) {
	folder, err := a.pluginFolder()
	if err != nil {
		return nil, err
	}
	lock, err := folder.lock()
	if errors.Is(err, fs.ErrNotExist) {
		lock, err = catalog.NewLock(), nil
	}
	if err != nil {
		return nil, err
	}
	here, err := catalog.List(folder.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	used := folder.types()
	types := slices.Compact(slices.Sorted(slices.Values(slices.Concat(here, used, lock.Types()))))
	lines := make([]pluginLine, 0, len(types))
	for _, typ := range types {
		line := examine(folder.dir, lock, typ)
		line.used = slices.Contains(used, typ)
		lines = append(lines, line)
	}
	return lines, nil
}

// types are those of the config's providers.
func (p pluginFolder) types() []string {
	var types []string
	for _, configured := range p.config.Providers {
		types = append(types, configured.Type)
	}
	return types
}

func examine(dir string, lock *catalog.Lock, typ string) pluginLine {
	pinned, ok := lock.Plugins[typ]
	line := pluginLine{
		Type: typ, Path: filepath.Join(dir, catalog.FileName(typ)), Version: pinned.Version, Pinned: ok, Status: statusOK,
	}
	err := lock.Verify(dir, typ)
	switch {
	case err == nil:
		return line
	case as[*catalog.NotPinnedError](err):
		line.Status = statusNotPinned
	case as[*catalog.MismatchError](err):
		line.Status = statusChanged
	case errors.Is(err, os.ErrNotExist):
		line.Status = statusMissing
	default:
		line.Status = statusRefused
	}
	line.Error, line.err = err.Error(), err
	return line
}

// verdict fails if a plugin that is pinned, or that the config uses, would not run.
func verdict(lines []pluginLine) error {
	var bad []error
	for _, l := range lines {
		if (l.Pinned || l.used) && l.Status != statusOK {
			bad = append(bad, l.err)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("%s not as pinned:\n%w", count(len(bad), "plugin"), errors.Join(bad...))
}

func (a *app) showPlugins(lines []pluginLine) error {
	if a.JSON {
		return a.Answer(map[string][]pluginLine{"plugins": lines})
	}
	if len(lines) == 0 {
		a.Hint("There are no plugins.")
		return nil
	}
	rows := make([][]string, 0, len(lines))
	for _, l := range lines {
		rows = append(rows, []string{l.Type, dash(l.Version), l.Status, l.Path})
	}
	return a.Table([]string{"TYPE", "VERSION", "STATUS", "PATH"}, rows)
}
