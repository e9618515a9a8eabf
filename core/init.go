package core

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
)

// ConfigName is the config file that Init writes.
const ConfigName = "keyrotor.hcl"

// localType is the provider that needs no key manager.
const localType = "local"

// DefaultPluginDir is the folder "plugins" beside this process's executable.
func DefaultPluginDir() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the plugin directory: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", fmt.Errorf("find the plugin directory: %w", err)
	}
	return filepath.Join(filepath.Dir(exe), "plugins"), nil
}

// PassphraseVariable is the environment variable that a sealed configuration of
// Init reads the passphrase from.
const PassphraseVariable = "KEYROTOR_PASSPHRASE" //nolint:gosec // G101: the name of a variable, not what it holds

// InitOptions are what Init may be told; the zero value is ready.
type InitOptions struct {
	// PluginDir is DefaultPluginDir if empty.
	PluginDir string
	// Seal protects the key-encryption keys by the passphrase in the environment
	// variable PassphraseVariable, from the first one on.
	Seal bool
}

// Init makes dir ready for use: a config file with one local provider and a SQLite
// store, a lock file that pins the plugins, the store, and a key-encryption key. It
// refuses a folder that has a config already and answers the config's path.
//
// The config file comes last, so an Init that was cut off can be run again: it
// keeps the key-encryption key and the store that it finds.
func Init(ctx context.Context, dir string, o InitOptions) (path string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, ConfigName)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s exists already; nothing was changed: %w", path, fs.ErrExist)
	}
	pluginDir := o.PluginDir
	if pluginDir == "" {
		if pluginDir, err = DefaultPluginDir(); err != nil {
			return "", err
		}
	}
	if pluginDir, err = filepath.Abs(pluginDir); err != nil {
		return "", err
	}
	types, err := catalog.List(pluginDir)
	if err != nil {
		return "", err
	}
	if len(types) == 0 {
		return "", fmt.Errorf("no plugins lie in %s; build them, or name their folder with --plugins", pluginDir)
	}
	lock := catalog.NewLock()
	if err := lock.Pin(ctx, pluginDir, slog.New(slog.DiscardHandler), types...); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := lock.Write(filepath.Join(dir, "plugins.lock")); err != nil {
		return "", err
	}
	if err := prepare(ctx, dir, path, initialConfig(pluginDir, o.Seal)); err != nil {
		return "", err
	}
	return path, nil
}

// prepare makes the KEK and the store with the config under a temporary name, and
// gives it its name when they are there.
func prepare(ctx context.Context, dir, path, text string) error {
	draft, err := os.CreateTemp(dir, ".init-*.hcl")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = draft.WriteString(text)
	if err := errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	kr, err := Open(ctx, draft.Name())
	if err != nil {
		return err
	}
	_, err = kr.CreateKEK(ctx, localType)
	if errors.Is(err, provider.AlreadyExists) {
		err = nil
	}
	if err := errors.Join(err, kr.Close()); err != nil {
		return err
	}
	// Link, unlike rename, fails if somebody else's config is there by now.
	return os.Link(draft.Name(), path)
}

// CreateKEK makes the key-encryption key of a provider, where the provider can.
// provider.AlreadyExists if it is there.
func (kr *Keyrotor) CreateKEK(ctx context.Context, name string) (provider.CreateKeyResponse, error) {
	p, err := kr.Catalog.Provider(name)
	if err != nil {
		return provider.CreateKeyResponse{}, err
	}
	return p.CreateKey(ctx, provider.CreateKeyRequest{})
}

func initialConfig(pluginDir string, seal bool) string {
	passphrase := ""
	if seal {
		passphrase = `
  passphrase = env("` + PassphraseVariable + `")`
	}
	return `# Keyrotor. Relative paths start from this file's folder.

storage "sqlite" {
  path = "keyrotor.db"
}

plugins {
  directory = ` + strconv.Quote(pluginDir) + `
}

# Key-encryption keys in a file: for trying things out, and for machines without a
# key manager.
provider "local" "local" {
  path = "keyrotor.kek"` + passphrase + `
}
`
}
