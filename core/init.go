package core

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
)

// ConfigName is the config file that Init writes.
const ConfigName = "keyrotor.hcl"

// draftPattern is the name that a config of Init has while it is made.
const draftPattern = ".init-*.hcl"

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
	switch _, err := os.Lstat(path); {
	case err == nil:
		return "", fmt.Errorf("%s: %w; nothing was changed", path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w; nothing was changed", err)
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
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := pin(ctx, filepath.Join(dir, "plugins.lock"), pluginDir, types); err != nil {
		return "", err
	}
	if err := prepare(ctx, dir, path, initialConfig(pluginDir, o.Seal)); err != nil {
		return "", err
	}
	return path, nil
}

// pin writes the lock file. One that is there, from an Init that was cut off or of
// another config in the folder, is not replaced: it must pin the same plugins.
func pin(ctx context.Context, path, pluginDir string, types []string) error {
	lock, err := catalog.ReadLock(path)
	if errors.Is(err, fs.ErrNotExist) {
		lock = catalog.NewLock()
		if err := lock.Pin(ctx, pluginDir, slog.New(slog.DiscardHandler), types...); err != nil {
			return err
		}
		return lock.Write(path)
	}
	if err != nil {
		return err
	}
	for _, typ := range types {
		if err := lock.Verify(pluginDir, typ); err != nil {
			return fmt.Errorf("%s is there already, and pins something else; nothing was changed: %w", path, err)
		}
	}
	return nil
}

// prepare makes the KEK and the store with the config under a temporary name, and
// gives it its name when they are there.
func prepare(ctx context.Context, dir, path, text string) error {
	draft, err := os.CreateTemp(dir, draftPattern)
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = draft.WriteString(text)
	if err := errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	kr, err := Opener{CreateStore: true}.Open(ctx, draft.Name())
	if err != nil {
		return err
	}
	if err := errors.Join(kr.ensureKEK(ctx, localType), kr.Close()); err != nil {
		return err
	}
	// Link, unlike rename, fails if somebody else's config is there by now.
	return os.Link(draft.Name(), path)
}

// ensureKEK makes the key-encryption key of a provider, or sees that the one that is
// there works.
func (s *Setup) ensureKEK(ctx context.Context, name string) error {
	_, err := s.CreateKEK(ctx, name)
	if !errors.Is(err, provider.AlreadyExists) {
		return err
	}
	p, err := s.Catalog.Provider(name)
	if err != nil {
		return err
	}
	_, err = p.Check(ctx, provider.CheckRequest{Deep: true})
	return err
}

// CreateKEK makes the key-encryption key of a provider, where the provider can.
// provider.AlreadyExists if it is there.
func (s *Setup) CreateKEK(ctx context.Context, name string) (provider.CreateKeyResponse, error) {
	p, err := s.Catalog.Provider(name)
	if err != nil {
		return provider.CreateKeyResponse{}, err
	}
	return p.CreateKey(ctx, provider.CreateKeyRequest{})
}

// quote writes a string as HCL does, where ${ begins a template.
func quote(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
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
  directory = ` + quote(pluginDir) + `
}

# Key-encryption keys in a file: for trying things out, and for machines without a
# key manager.
provider "local" "local" {
  path = "keyrotor.kek"` + passphrase + `
}
`
}
