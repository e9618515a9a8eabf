package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// configPath is the config file that the command works with.
func (a *app) configPath() (string, error) {
	if a.global.config != "" {
		return a.global.config, nil
	}
	if path := a.getenv(configVariable); path != "" {
		return path, nil
	}
	return "", errNoConfig
}

// withKeyrotor opens the config file for the time of a call.
func (a *app) withKeyrotor(cmd *cobra.Command, f func(context.Context, *core.Keyrotor) error) error {
	return a.withKeyrotorFrom(cmd, core.Opener.Open, f)
}

// withKeyrotorOrNew is withKeyrotor that makes the store if there is none.
func (a *app) withKeyrotorOrNew(cmd *cobra.Command, f func(context.Context, *core.Keyrotor) error) error {
	return a.withKeyrotorFrom(cmd, func(o core.Opener, ctx context.Context, path string) (*core.Keyrotor, error) {
		o.CreateStore = true
		return o.Open(ctx, path)
	}, f)
}

type opener func(core.Opener, context.Context, string) (*core.Keyrotor, error)

func (a *app) withKeyrotorFrom(cmd *cobra.Command, open opener, f func(context.Context, *core.Keyrotor) error) error {
	return opened(a, cmd, open, func(ctx context.Context, kr *core.Keyrotor) error {
		a.warn(kr.Warnings)
		return f(ctx, kr)
	})
}

// withProviders is withKeyrotor without the store.
func (a *app) withProviders(cmd *cobra.Command, f func(context.Context, *core.Setup) error) error {
	return opened(a, cmd, core.Opener.Load, func(ctx context.Context, s *core.Setup) error {
		a.warn(s.Warnings)
		return f(ctx, s)
	})
}

// opened calls f with what open answers, and closes that.
func opened[T io.Closer](a *app, cmd *cobra.Command, open func(core.Opener, context.Context, string) (T, error), f func(context.Context, T) error) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	x, err := open(core.Opener{Log: a.log, OnStep: a.stepped(), Reattach: a.reattach}, ctx, path)
	if err != nil {
		return err
	}
	// The answer is out by the time of Close, so its failure changes no exit status.
	defer func() {
		if err := x.Close(); err != nil {
			a.Warn("not everything was closed: %v", err)
		}
	}()
	return f(ctx, x)
}

func (a *app) warn(warnings []config.Problem) {
	for _, w := range warnings {
		a.Warn("%s", w)
	}
}

// stepped says what an operation waits for and, to a person who watches, where it is.
func (a *app) stepped() func(string, rotation.Step) {
	waiting := false
	return func(subject string, step rotation.Step) {
		switch {
		case step == rotation.StepWaiting && !waiting:
			waiting = true
			a.Note("another process works on key %q; waiting for it", subject)
		case step != rotation.StepWaiting && a.Watched() && !a.counting:
			a.Hint("%s: %s", subject, step)
		}
	}
}

// pluginFolder is where the plugins of a config lie and what pins them.
type pluginFolder struct {
	config *config.File
	dir    string
}

// pluginFolder reads the config file alone: nothing in it about plugins is checked.
func (a *app) pluginFolder() (pluginFolder, error) {
	path, err := a.configPath()
	if err != nil {
		return pluginFolder{}, err
	}
	file, err := config.Load(path)
	if err != nil {
		return pluginFolder{}, err
	}
	dir := file.Plugins.Directory
	if dir == "" {
		if dir, err = core.DefaultPluginDir(); err != nil {
			return pluginFolder{}, err
		}
	}
	return pluginFolder{config: file, dir: dir}, nil
}

// lock reads plugins.lock.
func (p pluginFolder) lock() (*catalog.Lock, error) {
	return catalog.ReadLock(p.config.Plugins.Lock)
}

// typeOf answers the plugin type of a provider of this name, or the word itself.
func (p pluginFolder) typeOf(word string) string {
	for _, configured := range p.config.Providers {
		if configured.Name == word {
			return configured.Type
		}
	}
	return word
}
