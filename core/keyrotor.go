// Package core opens a Keyrotor from its config file: the store, the plugins and
// the engine, wired for a service. A service needs nothing else:
//
//	kr, err := core.Open(ctx, "/etc/keyrotor/keyrotor.hcl")
//	…
//	defer kr.Close()
//	token, err := kr.Encrypt(ctx, "payments", []byte("s3cret"), nil)
package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"time"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// closeTimeout bounds what Close still writes.
const closeTimeout = 10 * time.Second

// Open opens the Keyrotor of a config file with an Opener's defaults.
func Open(ctx context.Context, path string) (*Keyrotor, error) {
	return Opener{}.Open(ctx, path)
}

// Opener holds what a config file does not say. The zero value is ready.
type Opener struct {
	// Actor goes into every event; "user@host" of this process if empty.
	Actor string
	// Log is silent if nil.
	Log *slog.Logger
	// OnStep, if set, is called at each step of a rotation.
	OnStep func(key string, step rotation.Step)
}

// Keyrotor is an opened config file. The engine's methods are its own.
type Keyrotor struct {
	*engine.Engine
	Config *config.File
	// Catalog holds the providers; plugins start when they are first called.
	Catalog *catalog.Catalog
	// Warnings are what the config file should no longer say.
	Warnings []config.Problem

	store *sqlite.Store
}

// Open reads the config file, opens the store (a new one if there is none yet) and
// builds the engine. It calls no key manager and starts no plugin whose schema is
// in plugins.lock. Nothing is left open if it fails.
func (o Opener) Open(ctx context.Context, path string) (kr *Keyrotor, err error) {
	kr, err = o.Load(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, kr.Close())
			kr = nil
		}
	}()
	kr.store, err = sqlite.Open(ctx, sqlite.Config{Path: kr.Config.Storage.Path, Log: o.Log})
	if err != nil {
		return kr, err
	}
	actor := o.Actor
	if actor == "" {
		actor = processActor()
	}
	kr.Engine, err = engine.New(engine.Config{
		Store: kr.store, Actor: actor, Log: o.Log, OnStep: o.OnStep,
		KeyManager: kr.keyManager,
	})
	return kr, err
}

// Load reads and checks the config file, provider blocks included, without opening
// the store: what `config validate` does. Only Config, Catalog and Warnings of the
// result are there, and it is to be closed.
func (o Opener) Load(ctx context.Context, path string) (kr *Keyrotor, err error) {
	file, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	kr = &Keyrotor{Config: file}
	defer func() {
		if err != nil {
			err = errors.Join(err, kr.Close())
			kr = nil
		}
	}()
	lock, err := catalog.ReadLock(file.Plugins.Lock)
	if err != nil {
		return kr, err
	}
	dir := file.Plugins.Directory
	if dir == "" {
		if dir, err = DefaultPluginDir(); err != nil {
			return kr, err
		}
	}
	env := make(map[string][]string)
	for _, p := range file.Providers {
		env[p.Type] = file.Plugins.Env
	}
	kr.Catalog, err = catalog.New(catalog.Config{PluginDir: dir, Lock: lock, Log: o.Log, Env: env})
	if err != nil {
		return kr, err
	}
	return kr, kr.addProviders(ctx)
}

// addProviders checks every provider block against its plugin's schema, and
// reports the problems of all of them.
func (kr *Keyrotor) addProviders(ctx context.Context) error {
	var errs []error
	for _, p := range kr.Config.Providers {
		schema, err := kr.Catalog.Schema(ctx, p.Type)
		if err != nil {
			errs = append(errs, fmt.Errorf("provider %q: %w", p.Name, err))
			continue
		}
		body, warnings, err := p.Decode(schema)
		kr.Warnings = append(kr.Warnings, warnings...)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, kr.Catalog.Add(p.Name, p.Type, body))
	}
	return errors.Join(errs...)
}

func (kr *Keyrotor) keyManager(name string) (rotation.KeyManager, error) {
	return kr.Catalog.Provider(name)
}

// KeyOptions are what `key create` may set; the zero value takes the config file's
// word, or the default.
type KeyOptions struct {
	// WrapWith names the providers. If it is empty, the config's key block decides,
	// and without one the only provider that there is.
	WrapWith  []string
	Algorithm keyring.Algorithm
	Note      string
}

// CreateKey makes a key with its first version.
func (kr *Keyrotor) CreateKey(ctx context.Context, name string, o KeyOptions) (store.Key, error) {
	wrapWith, err := kr.wrapWith(name, o.WrapWith)
	if err != nil {
		return store.Key{}, err
	}
	return kr.Create(ctx, name, keyring.Settings{Algorithm: o.Algorithm, WrapWith: wrapWith}, o.Note)
}

func (kr *Keyrotor) wrapWith(name string, asked []string) ([]string, error) {
	if len(asked) == 0 {
		for _, k := range kr.Config.Keys {
			if k.Name == name {
				asked = k.WrapWith
			}
		}
	}
	if len(asked) == 0 && len(kr.Config.Providers) == 1 {
		asked = []string{kr.Config.Providers[0].Name}
	}
	if len(asked) == 0 {
		return nil, fmt.Errorf("key %q: the config has several providers: say which wrap the key (--wrap-with, or wrap_with in a key block)", name)
	}
	seen := make(map[string]bool)
	for _, p := range asked {
		if seen[p] {
			return nil, fmt.Errorf("key %q: provider %q is named twice", name, p)
		}
		seen[p] = true
		if _, err := kr.Catalog.Provider(p); err != nil {
			return nil, err
		}
	}
	return asked, nil
}

// Close returns unused leases, ends the plugins and closes the store.
func (kr *Keyrotor) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if kr.Engine != nil {
		errs = append(errs, kr.Engine.Close(ctx))
	}
	if kr.Catalog != nil {
		errs = append(errs, kr.Catalog.Close())
	}
	if kr.store != nil {
		errs = append(errs, kr.store.Close())
	}
	return errors.Join(errs...)
}

// processActor is "user@host"; what cannot be found out is "unknown".
func processActor() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}
