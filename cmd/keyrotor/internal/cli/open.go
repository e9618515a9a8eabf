package cli

import (
	"context"

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
	return a.with(cmd, core.Opener.Open, f)
}

// withProviders is withKeyrotor without the store.
func (a *app) withProviders(cmd *cobra.Command, f func(context.Context, *core.Keyrotor) error) error {
	return a.with(cmd, core.Opener.Load, f)
}

type opener func(core.Opener, context.Context, string) (*core.Keyrotor, error)

func (a *app) with(cmd *cobra.Command, open opener, f func(context.Context, *core.Keyrotor) error) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	kr, err := open(core.Opener{Log: a.log, OnStep: a.stepped()}, ctx, path)
	if err != nil {
		return err
	}
	// The answer is out by the time of Close, so its failure changes no exit status.
	defer func() {
		if err := kr.Close(); err != nil {
			a.Warn("not everything was closed: %v", err)
		}
	}()
	for _, w := range kr.Warnings {
		a.Warn("%s", w)
	}
	return f(ctx, kr)
}

// stepped says what a rotation waits for and, to a person who watches, where it is.
func (a *app) stepped() func(string, rotation.Step) {
	waiting := false
	return func(key string, step rotation.Step) {
		switch {
		case step == rotation.StepWaiting && !waiting:
			waiting = true
			a.Note("another process works on key %q; waiting for it", key)
		case step != rotation.StepWaiting && a.Watched():
			a.Hint("%s: %s", key, step)
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
