package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Pin trusts the plugins of the given types as they lie in dir now: it starts
// each once, writes down its hash and what it says about itself, and ends it. No
// types means all that [List] finds. A plugin's hashes for other platforms stay
// if its version did not change.
//
// Pinning is an operator's decision, made after a look at the binary: from here
// on the plugin is given credentials. On error the lock is unchanged.
func (l *Lock) Pin(ctx context.Context, dir string, log *slog.Logger, types ...string) error {
	if len(types) == 0 {
		var err error
		if types, err = List(dir); err != nil {
			return err
		}
	}
	pinned := map[string]LockedPlugin{}
	for _, typ := range types {
		p, err := inspect(ctx, dir, typ, log)
		if err != nil {
			return fmt.Errorf("pinning plugin %q: %w", typ, err)
		}
		pinned[typ] = p
	}
	for typ, p := range pinned {
		l.Plugins[typ] = p.merge(l.Plugins[typ])
	}
	return nil
}

// Verify compares a plugin's binary in dir with its pin, and starts nothing. It
// fails with a [*NotPinnedError] or a [*MismatchError].
func (l *Lock) Verify(dir, typ string) error {
	_, want, err := l.pinned(typ)
	if err != nil {
		return err
	}
	path, err := Find(dir, typ)
	if err != nil {
		return err
	}
	got, err := hashFile(path)
	if err != nil {
		return err
	}
	if got != want {
		return &MismatchError{Type: typ, Path: path, Expected: want, Actual: got}
	}
	return nil
}

// inspect starts a plugin and writes down what it says about itself.
func inspect(ctx context.Context, dir, typ string, log *slog.Logger) (LockedPlugin, error) {
	path, err := Find(dir, typ)
	if err != nil {
		return LockedPlugin{}, err
	}
	hash, err := hashFile(path)
	if err != nil {
		return LockedPlugin{}, err
	}
	p, err := launch(ctx, binary{
		typ: typ, path: path, hash: hash,
		env:         environment(nil, log),
		socketRoots: []string{os.TempDir(), shortTempDir},
		log:         log.With("plugin", typ),
		redact:      &redactor{},
	})
	if err != nil {
		return LockedPlugin{}, err
	}
	defer p.stop()
	schema, err := askSchema(ctx, p)
	if err != nil {
		return LockedPlugin{}, err
	}
	if p.info.Version == "" {
		return LockedPlugin{}, errors.New("it does not say its version")
	}
	return LockedPlugin{
		Version:       p.info.Version,
		ProtocolMinor: p.info.ProtocolMinor,
		Capabilities:  append(provider.Capabilities{}, p.info.Capabilities...), // a list even if empty
		Hashes:        map[string]string{platform(): hash},
		Schemas:       map[string]provider.Schema{hash: schema},
	}, nil
}

func askSchema(ctx context.Context, p *process) (provider.Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	schema, err := p.client.Schema(ctx)
	if err != nil {
		return provider.Schema{}, err
	}
	if err := typeDefaults(&schema); err != nil {
		return provider.Schema{}, fmt.Errorf("its schema: %w", err)
	}
	return schema, nil
}

// merge keeps what old knows of other platforms, if it is the same version.
func (p LockedPlugin) merge(old LockedPlugin) LockedPlugin {
	if old.Version != p.Version {
		return p
	}
	for plat, hash := range old.Hashes {
		if _, ours := p.Hashes[plat]; ours {
			continue
		}
		p.Hashes[plat] = hash
		if schema, ok := old.Schemas[hash]; ok {
			p.Schemas[hash] = schema
		}
	}
	return p
}
