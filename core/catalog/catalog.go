// Package catalog is where provider plugins are found, verified, started, kept
// running and ended. What it hands out is the contract of core/provider; that a
// process lies behind it shows in one error code, [provider.PluginCrashed].
//
// A plugin is given the credentials of a key manager and sees roots in
// plaintext. So a binary runs only if plugins.lock pins its hash; it gets an
// environment of its own, no standard input, a socket in a directory that nobody
// else may enter, and a connection under mutual TLS; and it does not outlive its
// host, unless somebody stopped it first (SIGSTOP; see plugins/sdk). Nothing that
// it answers, prints or fails to do may take the host down: calls have deadlines, a
// process that ended is replaced on the next call, and one that keeps ending is
// left alone for a while.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// DefaultTimeout is the deadline of one attempt of a call. Deep checks and
// CreateKey get three times as long.
const DefaultTimeout = 10 * time.Second

// shortTempDir stands in for a temporary directory whose path is too long for a
// socket, as on macOS.
const shortTempDir = "/tmp"

// Config of a [Catalog].
type Config struct {
	// PluginDir holds the plugins' binaries, see [FileName]. Required.
	PluginDir string
	// Lock says which plugins are trusted. Nil trusts none.
	Lock *Lock
	// Log receives the plugins' logs and what happens to their processes. Nil discards them.
	Log *slog.Logger
	// SocketRoot is where socket directories are made; empty means the temporary directory.
	SocketRoot string
	// Env names further variables of the host's environment to pass on, by plugin type.
	Env map[string][]string
	// Timeout replaces [DefaultTimeout] unless it is zero.
	Timeout time.Duration
	// Reattach is for plugin authors alone: these plugins are neither started nor
	// verified, and their calls have an hour. Each use is a warning in the log.
	Reattach Reattach
}

// Catalog holds the configured providers and the plugin processes behind them.
type Catalog struct {
	config Config
	policy restartPolicy

	mu        sync.Mutex
	plugins   map[string]*supervisor // by type
	instances map[string]*Instance   // by name
	closed    bool
}

// New answers an empty catalog. Nothing is started before it is needed.
func New(c Config) (*Catalog, error) {
	if c.PluginDir == "" {
		return nil, errors.New("catalog: no plugin directory is configured")
	}
	if c.Lock == nil {
		c.Lock = NewLock()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return &Catalog{
		config:    c,
		policy:    defaultRestartPolicy(),
		plugins:   map[string]*supervisor{},
		instances: map[string]*Instance{},
	}, nil
}

// Schema answers what a provider block of this type may contain. It comes from
// the lock; a plugin is started only if the lock lacks it.
func (c *Catalog) Schema(ctx context.Context, typ string) (provider.Schema, error) {
	if _, attached := c.config.Reattach[typ]; !attached {
		locked, hash, err := c.config.Lock.pinned(typ)
		if err != nil {
			return provider.Schema{}, err
		}
		if schema, ok := locked.Schemas[hash]; ok {
			return schema, nil
		}
	}
	s, p, err := c.running(ctx, typ)
	if err != nil {
		return provider.Schema{}, err
	}
	schema, err := askSchema(ctx, p)
	if err != nil {
		return provider.Schema{}, fmt.Errorf("schema of plugin %q: %w", typ, s.classify(ctx, p, err))
	}
	return schema, nil
}

// Add registers a provider under a name. The plugin must be pinned and in place;
// it is not started. Unless it fails, the catalog owns the body from here on, and
// [Catalog.Close] wipes its secrets.
func (c *Catalog) Add(name, typ string, body provider.Body) error {
	if name == "" {
		return fmt.Errorf("a provider of type %q has no name", typ)
	}
	info, err := c.info(typ)
	if err != nil {
		return fmt.Errorf("provider %q: %w", name, err)
	}
	timeout := c.config.Timeout
	if _, attached := c.config.Reattach[typ]; attached {
		timeout = debugTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.instances[name]; ok {
		return fmt.Errorf("provider %q is there already: names are unique across plugin types", name)
	}
	s, err := c.supervisor(typ)
	if err != nil {
		return fmt.Errorf("provider %q: %w", name, err)
	}
	s.redact.add(body)
	c.instances[name] = &Instance{
		name:    name,
		info:    info,
		body:    body,
		plugin:  s,
		timeout: timeout,
	}
	return nil
}

// info is what a plugin said about itself when it was pinned. One that a developer
// runs is asked.
func (c *Catalog) info(typ string) (provider.Info, error) {
	if _, attached := c.config.Reattach[typ]; attached {
		_, p, err := c.running(context.Background(), typ)
		if err != nil {
			return provider.Info{}, err
		}
		return p.info, nil
	}
	locked, _, err := c.config.Lock.pinned(typ)
	if err != nil {
		return provider.Info{}, err
	}
	if _, err := Find(c.config.PluginDir, typ); err != nil {
		return provider.Info{}, err
	}
	return provider.Info{
		Name:          typ,
		Version:       locked.Version,
		ProtocolMinor: locked.ProtocolMinor,
		Capabilities:  locked.Capabilities,
	}, nil
}

// running answers the process of a plugin type, which it starts if need be.
func (c *Catalog) running(ctx context.Context, typ string) (*supervisor, *process, error) {
	c.mu.Lock()
	s, err := c.supervisor(typ)
	c.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	p, err := s.acquire(ctx)
	return s, p, err
}

// Provider answers a registered provider, or an [*UnknownProviderError]. Its plugin
// starts on the first call.
func (c *Catalog) Provider(name string) (*Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in, ok := c.instances[name]
	if !ok {
		return nil, &UnknownProviderError{Name: name, Configured: slices.Sorted(maps.Keys(c.instances))}
	}
	return in, nil
}

// Names lists the registered providers in order.
func (c *Catalog) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.instances))
}

// PID is the process id behind a provider, if a process runs now.
func (c *Catalog) PID(name string) (int, bool) {
	in, err := c.Provider(name)
	if err != nil {
		return 0, false
	}
	return in.plugin.pid()
}

// Close ends every plugin process and removes what belonged to it. Calls under way
// end with the process, and Close waits for them before it wipes the secrets of
// the configurations. It takes some seconds at most, whatever the plugins do.
// Closing twice succeeds.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var wg sync.WaitGroup
	for _, s := range c.plugins {
		wg.Go(s.close)
	}
	wg.Wait()
	for _, in := range c.instances {
		for _, s := range secretsOf(in.body) {
			s.Wipe()
		}
	}
	return nil
}

// supervisor answers the one supervisor of a plugin type. The caller holds mu.
func (c *Catalog) supervisor(typ string) (*supervisor, error) {
	if c.closed {
		return nil, errClosed
	}
	s, ok := c.plugins[typ]
	if !ok {
		s = newSupervisor(typ, c.policy, func() (binary, error) { return c.locate(typ) })
		c.plugins[typ] = s
	}
	return s, nil
}

// locate answers a plugin's binary as it lies there now, with the hash that it must have.
func (c *Catalog) locate(typ string) (binary, error) {
	log := c.config.Log.With("plugin", typ)
	if a, ok := c.config.Reattach[typ]; ok {
		return binary{typ: typ, log: log, attach: &a}, nil
	}
	_, hash, err := c.config.Lock.pinned(typ)
	if err != nil {
		return binary{}, err
	}
	path, err := Find(c.config.PluginDir, typ)
	if err != nil {
		return binary{}, err
	}
	return binary{
		typ: typ, path: path, hash: hash,
		env:         environment(c.config.Env[typ], c.config.Log),
		socketRoots: c.socketRoots(),
		log:         log,
	}, nil
}

// socketRoots are where a socket directory may be made, in the order of preference.
func (c *Catalog) socketRoots() []string {
	if c.config.SocketRoot != "" {
		return []string{c.config.SocketRoot}
	}
	return []string{os.TempDir(), shortTempDir}
}

// CheckSockets makes a directory for a plugin's socket, as a start does, and removes
// it. It answers in which folder that was, or why no plugin can start.
func (c *Catalog) CheckSockets() (folder string, err error) {
	dir, err := makeSocketDir(c.socketRoots()...)
	if err != nil {
		return "", err
	}
	return filepath.Dir(dir), os.Remove(dir)
}
