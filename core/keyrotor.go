// Package core opens a Keyrotor from its config file: the store, the plugins and
// the engine, wired for a service. A service needs nothing else:
//
//	kr, err := core.Open(ctx, "/etc/keyrotor/keyrotor.hcl")
//	…
//	defer kr.Close()
//	token, err := kr.Encrypt(ctx, "payments", []byte("s3cret"), nil)
package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
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
	// OnStep, if set, is called at each step of a rotation, a rewrap or a migration.
	OnStep func(key string, step rotation.Step)
	// OnOutcome, if set, hears of each rotation that the scheduler tried. It must not
	// block.
	OnOutcome func(scheduler.Outcome)
	// OnDelivery, if set, hears of each try to tell a target of the config something. It
	// must not block.
	OnDelivery func(Delivery)
	// Interval, unless it is zero, replaces the one that the config has for the scheduler.
	Interval time.Duration
	// Clock is the machine's if nil. It is for tests, in which years are to pass.
	Clock clockwork.Clock
	// CreateStore makes the store if there is none. Otherwise that is an error: a
	// volume that is not mounted must not look like a store without keys.
	CreateStore bool
	// Reattach is for plugin authors alone, see [catalog.Config].
	Reattach catalog.Reattach
}

// ErrNoStore: the config's store does not exist.
var ErrNoStore = errors.New("there is no store")

// Setup is a config file that was read and checked, provider blocks included.
type Setup struct {
	Config *config.File
	// Catalog holds the providers; plugins start when they are first called.
	Catalog *catalog.Catalog
	// Warnings are what the config file should no longer say.
	Warnings []config.Problem
	targets  []notify.Target
	opener   Opener
}

// Keyrotor is a Setup with its store and engine, whose methods are its own.
type Keyrotor struct {
	*Setup
	*engine.Engine
	// Scheduler rotates keys by their policies, once it is started.
	Scheduler *scheduler.Scheduler
	// Notifier tells others what happens to keys, once it is started. If a process opens
	// a store twice, it is to start one of the two: leases tell processes apart, no more.
	Notifier *notify.Notifier

	store  *sqlite.Store
	mover  *rewrap.Mover
	teller *teller
	actor  string

	// recent has the newest events; reading is held by whoever brings it up to date.
	recent  *history.Recent
	reading sync.Mutex
}

// Open reads the config file, opens the store and builds the engine. It calls no key
// manager and starts no plugin whose schema is in plugins.lock. Nothing is left open if
// it fails.
func (o Opener) Open(ctx context.Context, path string) (kr *Keyrotor, err error) {
	setup, err := o.Load(ctx, path)
	if err != nil {
		return nil, err
	}
	kr = &Keyrotor{Setup: setup}
	defer func() {
		if err != nil {
			err = errors.Join(err, kr.Close())
			kr = nil
		}
	}()
	if err := o.checkStore(setup.Config.Storage.Path); err != nil {
		return kr, err
	}
	kr.store, err = sqlite.Open(ctx, sqlite.Config{Path: kr.Config.Storage.Path, Log: o.Log, Now: o.now()})
	if err != nil {
		return kr, err
	}
	kr.actor = o.actor()
	if kr.Notifier, err = kr.newNotifier(ctx); err != nil {
		return kr, err
	}
	kr.teller = newTeller(kr.actor, o.Clock, kr.log(), kr.Notifier.Tell)
	kr.Engine, err = engine.New(engine.Config{
		Store: kr.store, Actor: kr.actor, Log: o.Log, OnStep: kr.onStep,
		KeyManager: kr.keyManager, Budget: kr.Config.Budget, Clock: o.Clock,
		MaxUses: kr.maxUses, OnUses: kr.used, OnTampered: kr.tampered, Rotating: kr.rotating,
	})
	if err != nil {
		return kr, err
	}
	kr.recent = history.NewRecent(kr.Config.History.MaxEvents)
	if kr.Scheduler, err = kr.newScheduler(); err != nil {
		return kr, err
	}
	kr.mover, err = rewrap.New(rewrap.Config{
		Store: kr.store, Actor: kr.actor, OnStep: kr.onStep, KeyManager: kr.keyManager, Now: o.now(),
	})
	return kr, err
}

// checkStore answers ErrNoStore unless the store is there or may be made.
func (o Opener) checkStore(path string) error {
	if _, err := os.Stat(path); o.CreateStore || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%w at %s: if there was one, mount it, or `keyrotor backup restore FILE` brings it back; else `keyrotor key create NAME` makes it with its first key", ErrNoStore, path)
}

// Load reads and checks the config file without opening the store: what `config
// validate` does. The result is to be closed.
func (o Opener) Load(ctx context.Context, path string) (*Setup, error) {
	file, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	lock, err := catalog.ReadLock(file.Plugins.Lock)
	if err != nil {
		return nil, err
	}
	s, err := o.setup(file, lock)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.addProviders(ctx), s.addTargets()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// setup is a Setup without providers.
func (o Opener) setup(file *config.File, lock *catalog.Lock) (*Setup, error) {
	dir, err := pluginDir(file)
	if err != nil {
		return nil, err
	}
	env := make(map[string][]string)
	for _, p := range file.Providers {
		env[p.Type] = file.Plugins.Env
	}
	plugins, err := catalog.New(catalog.Config{PluginDir: dir, Lock: lock, Log: o.Log, Env: env, Reattach: o.Reattach})
	if err != nil {
		return nil, err
	}
	return &Setup{Config: file, Catalog: plugins, opener: o}, nil
}

// pluginDir is the plugin directory of a config.
func pluginDir(file *config.File) (string, error) {
	if file.Plugins.Directory != "" {
		return file.Plugins.Directory, nil
	}
	return DefaultPluginDir()
}

// addProviders checks every provider block against its plugin's schema, and
// reports the problems of all of them.
func (s *Setup) addProviders(ctx context.Context) error {
	var errs []error
	for _, p := range s.Config.Providers {
		errs = append(errs, s.addProvider(ctx, p))
	}
	return errors.Join(errs...)
}

func (s *Setup) addProvider(ctx context.Context, p config.Provider) error {
	schema, err := s.Catalog.Schema(ctx, p.Type)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", p.Position(), p, err)
	}
	body, warnings, err := p.Decode(schema)
	s.Warnings = append(s.Warnings, warnings...)
	if err != nil {
		return err
	}
	return s.Catalog.Add(p.Name, p.Type, body)
}

func (s *Setup) keyManager(name string) (wrapping.KeyManager, error) {
	return s.Catalog.Provider(name)
}

// Close ends the plugins.
func (s *Setup) Close() error { return s.Catalog.Close() }

// KeyOptions are what `key create` may set; the zero value takes the config file's
// word, or the default.
type KeyOptions struct {
	// WrapWith names the providers. If it is empty, the config's key block decides,
	// and without one the only provider that there is.
	WrapWith  []string
	Algorithm keyring.Algorithm
	// HardLimit is the number of uses at which a version stops encrypting. If it is 0,
	// the config's key block decides, and without one it is keyring.MaxUses.
	HardLimit uint64
	Note      string
}

// CreateKey makes a key with its first version.
func (kr *Keyrotor) CreateKey(ctx context.Context, name string, o KeyOptions) (store.Key, error) {
	settings, err := kr.settings(name, o)
	if err != nil {
		return store.Key{}, err
	}
	return kr.Engine.CreateKey(ctx, name, settings, o.Note)
}

// settings are those of a key that is made now.
func (kr *Keyrotor) settings(name string, o KeyOptions) (keyring.Settings, error) {
	wrapWith, err := kr.wrapWith(name, o.WrapWith)
	return keyring.Settings{
		Algorithm: o.Algorithm, WrapWith: wrapWith, HardLimit: cmp.Or(o.HardLimit, kr.Config.Key(name).HardLimit),
	}, err
}

func (kr *Keyrotor) wrapWith(name string, asked []string) ([]string, error) {
	if len(asked) == 0 {
		asked = kr.Config.Key(name).WrapWith
	}
	if len(asked) == 0 && len(kr.Config.Providers) == 1 {
		asked = []string{kr.Config.Providers[0].Name}
	}
	if len(asked) == 0 {
		return nil, fmt.Errorf("key %q: the config has several providers: say which wrap the key (--wrap-with, or wrap_with in a key block)", name)
	}
	if err := kr.checkProviders(asked); err != nil {
		return nil, fmt.Errorf("key %q: %w", name, err)
	}
	return asked, nil
}

// checkProviders says whether these can wrap a root.
func (s *Setup) checkProviders(names []string) error {
	seen := make(map[string]bool)
	for _, name := range names {
		if seen[name] {
			return fmt.Errorf("provider %q is named twice", name)
		}
		seen[name] = true
		if _, err := s.Catalog.Provider(name); err != nil {
			return err
		}
	}
	return nil
}

// Close stops the scheduler, which leaves a rotation that is under way half the time to
// end, and the notifier, which leaves a quarter to what it sends; it returns unused leases,
// ends the plugins and closes the store.
func (kr *Keyrotor) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if kr.Scheduler != nil {
		stop, cancel := context.WithTimeout(ctx, closeTimeout/2)
		errs = append(errs, kr.Scheduler.Close(stop))
		cancel()
	}
	if kr.Notifier != nil { // what is cut off is sent again by whoever delivers next
		stop, cancel := context.WithTimeout(ctx, closeTimeout/4)
		errs = append(errs, kr.Notifier.Stop(stop))
		cancel()
	}
	if kr.Engine != nil {
		errs = append(errs, kr.Engine.Close(ctx))
	}
	if kr.teller != nil {
		errs = append(errs, kr.teller.close(ctx))
	}
	errs = append(errs, kr.Setup.Close())
	if kr.store != nil {
		errs = append(errs, kr.store.Close())
	}
	return errors.Join(errs...)
}

// now is the clock's, nil for the machine's.
func (o Opener) now() func() time.Time {
	if o.Clock == nil {
		return nil
	}
	return o.Clock.Now
}

// actor is who stands in events: "user@host" unless it is set.
func (o Opener) actor() string {
	if o.Actor != "" {
		return o.Actor
	}
	// By its number: without a passwd entry, user.Current believes $USER.
	uid := strconv.Itoa(os.Getuid())
	name, host := "uid"+uid, "unknown"
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}
