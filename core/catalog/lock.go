package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"github.com/google/renameio/v2/maybe"

	"github.com/keyrotor/keyrotor/core/provider"
)

// LockFormat is the format of plugins.lock that this package reads and writes.
const LockFormat = 1

// maxLockSize bounds what is read into memory; a lock with a hundred plugins
// has some 200 KB.
const maxLockSize = 16 << 20

var (
	typePattern     = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	platformPattern = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+$`)
	hashPattern     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Lock is the content of plugins.lock: which plugins an operator has decided to
// trust, each pinned by the SHA-256 of its binary, and what they said about
// themselves when they were pinned.
type Lock struct {
	Format int `json:"format"`
	// Plugins by type, e.g. "vault-transit".
	Plugins map[string]LockedPlugin `json:"plugins"`
}

// LockedPlugin is one pinned plugin.
type LockedPlugin struct {
	Version       string                `json:"version"`
	ProtocolMinor uint32                `json:"protocol_minor"`
	Capabilities  provider.Capabilities `json:"capabilities"`
	// Hashes by platform ("linux/amd64"), each "sha256:" and 64 hex digits.
	Hashes map[string]string `json:"hashes"`
	// Schemas by hash, so that a config file is checked without starting anything.
	Schemas map[string]provider.Schema `json:"schemas"`
}

// NewLock answers a lock that trusts nothing yet.
func NewLock() *Lock {
	return &Lock{Format: LockFormat, Plugins: map[string]LockedPlugin{}}
}

// ReadLock reads and checks the file. A missing one is an error that wraps
// [fs.ErrNotExist]. One that everybody may write or replace decides nothing, and is
// refused.
func ReadLock(path string) (*Lock, error) {
	if err := checkLockFile(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no plugin is pinned, `keyrotor plugin lock` pins them: %w", err)
	} else if err != nil {
		return nil, fmt.Errorf("plugin lock: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the plugin lock: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLockSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the plugin lock: %w", err)
	}
	if len(data) > maxLockSize {
		return nil, fmt.Errorf("plugin lock %s: larger than %d bytes", path, maxLockSize)
	}
	l, err := parseLock(data)
	if err != nil {
		return nil, fmt.Errorf("plugin lock %s: %w", path, err)
	}
	return l, nil
}

// checkLockFile looks at the file before it is opened, for a pipe would block, at the
// directory that it lies in, and at that of a link to it.
func checkLockFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := checkFile(path, info); err != nil {
		return err
	}
	target, err := resolve(path)
	if err != nil {
		return err
	}
	return cmp.Or(checkDir(filepath.Dir(path)), checkDir(filepath.Dir(target)))
}

// Write replaces the file atomically.
func (l *Lock) Write(path string) error {
	data, err := l.encode()
	if err != nil {
		return err
	}
	if err := maybe.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("writing the plugin lock: %w", err)
	}
	return nil
}

// Types lists the pinned plugin types in order.
func (l *Lock) Types() []string {
	return slices.Sorted(maps.Keys(l.Plugins))
}

// pinned answers the entry of a type and the hash that its binary must have here.
func (l *Lock) pinned(typ string) (LockedPlugin, string, error) {
	p, ok := l.Plugins[typ]
	if !ok {
		return LockedPlugin{}, "", &NotPinnedError{Type: typ, Pinned: l.Types()}
	}
	hash, ok := p.Hashes[platform()]
	if !ok {
		return LockedPlugin{}, "", &NotPinnedError{Type: typ, Platform: platform()}
	}
	return p, hash, nil
}

func (l *Lock) encode() ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("plugin lock: %w", err)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("plugin lock: %w", err)
	}
	return buf.Bytes(), nil
}

func parseLock(data []byte) (*Lock, error) {
	// The format comes first: a newer file may differ in everything else.
	var head struct {
		Format *int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("not a lock file: %w", err)
	}
	if head.Format == nil {
		return nil, errors.New(`not a lock file: "format" is missing`)
	}
	if *head.Format != LockFormat {
		return nil, fmt.Errorf("format %d is unknown to this build, which reads format %d: use a newer keyrotor or pin again with `keyrotor plugin lock`", *head.Format, LockFormat)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	l := NewLock()
	if err := dec.Decode(l); err != nil {
		return nil, fmt.Errorf("malformed: %w", err)
	}
	for _, p := range l.Plugins {
		for hash, schema := range p.Schemas {
			if err := typeDefaults(&schema); err != nil {
				return nil, fmt.Errorf("schema of %s: %w", hash, err)
			}
			p.Schemas[hash] = schema
		}
	}
	return l, l.check()
}

func (l *Lock) check() error {
	if l.Format != LockFormat {
		return fmt.Errorf("format is %d, want %d", l.Format, LockFormat)
	}
	if l.Plugins == nil {
		return errors.New(`"plugins" is missing`)
	}
	for _, typ := range l.Types() {
		if !typePattern.MatchString(typ) {
			return fmt.Errorf("%q is no plugin type: lower-case words joined by hyphens are", typ)
		}
		if err := l.Plugins[typ].check(); err != nil {
			return fmt.Errorf("plugin %q: %w", typ, err)
		}
	}
	return nil
}

func (p LockedPlugin) check() error {
	if len(p.Hashes) == 0 {
		return errors.New("no hashes")
	}
	known := map[string]bool{}
	for plat, hash := range p.Hashes {
		if !platformPattern.MatchString(plat) {
			return fmt.Errorf("platform %q: want os/arch", plat)
		}
		if !hashPattern.MatchString(hash) {
			return fmt.Errorf("hash for %s: want sha256: and 64 lower-case hex digits", plat)
		}
		known[hash] = true
	}
	for hash := range p.Schemas {
		if !known[hash] {
			return fmt.Errorf("a schema is kept for %q, which no platform has", hash)
		}
	}
	return nil
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
