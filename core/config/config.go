// Package config reads Keyrotor's config file, in HCL or in HCL's JSON form,
// into typed settings.
//
// It is strict because a config file is the one place where a typing error can
// quietly weaken protection: whatever is unknown, not supported by this build,
// set twice or of the wrong type is refused, with its file, line and column, and
// all problems are reported at once. Nothing starts half-configured.
//
// The content of a provider block stays opaque until the plugin's schema is
// known; [Provider.Decode] checks it then. Values are literals, env("NAME") and
// file("path"), nothing else: a config file is data, not a program. No error
// shows a value that came from env() or file(), or any value of a provider
// block, so errors may be logged.
package config

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/policy"
)

// File is a config file, or a folder of them, that was read whole.
type File struct {
	// Path is what was loaded, absolute.
	Path string
	// Dir is the absolute folder that relative paths start from.
	Dir string
	// Sources are the files that were read, as messages name them.
	Sources   []string
	Storage   Storage
	Plugins   Plugins
	Providers []Provider
	Keys      []Key
	// Data says where ciphertexts are.
	Data      []Data
	Scheduler Scheduler
	Serve     Serve
	History   History
	// Notify says whom to tell of what happens.
	Notify []Notify

	// inline are secrets of our own blocks that stand in the file.
	inline problems
}

// Storage is the `storage` block.
type Storage struct {
	// Type is "sqlite", the only one so far.
	Type string
	// Path of the database, absolute.
	Path string
}

// Plugins is the `plugins` block, or its defaults.
type Plugins struct {
	// Directory that holds the plugins, absolute; empty if it is not set.
	Directory string
	// Lock is the absolute path of the file of pinned hashes, plugins.lock in
	// Dir unless set.
	Lock string
	// Env names the environment variables that plugins may see besides those
	// that each of them gets.
	Env []string
}

// Key is the `key` block of one key: policy, which `key create` does not need.
type Key struct {
	Name string
	// WrapWith names the providers that wrap each new version, in order; nil if
	// it is not set.
	WrapWith []string
	// HardLimit is the number of uses at which a version stops encrypting; 0 if it is
	// not set. It counts when the key is made.
	HardLimit uint64
	// Rotation says when the key is rotated by itself, jitter and blackout included;
	// nil if there is no such block.
	Rotation policy.Policy
	// Cache is how long the key goes on without its key manager; nil if it is not
	// set. [File.Budget] knows the default.
	Cache *outage.Budget
}

// Key answers what the file says of a key, nothing but the name if it says nothing.
func (f *File) Key(name string) Key {
	for _, k := range f.Keys {
		if k.Name == name {
			return k
		}
	}
	return Key{Name: name}
}

// Load reads the config at path: a .hcl or .json file, or a folder, whose .hcl
// and .json files count as one file, in the order of their names. In both cases
// the files of a folder providers.d beside them count too. Relative paths start
// from the folder of path, or from path itself if it is a folder.
//
// The error is an [*Error] if the content is wrong; otherwise it wraps what the
// file system answered.
func Load(path string) (*File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	sources, dir, err := readSources(path)
	if err != nil {
		return nil, err
	}
	absDir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	file := &File{Path: abs, Dir: absDir}
	for _, s := range sources {
		file.Sources = append(file.Sources, s.name)
	}
	if err := file.build(path, sources); err != nil {
		return nil, err
	}
	return file, nil
}

// build parses the sources and fills in f. The name stands for the whole in
// messages that have no line.
func (f *File) build(name string, sources []source) error {
	var found problems
	bodies := make([]hcl.Body, 0, len(sources))
	for _, s := range sources {
		if body := s.parse(&found); body != nil {
			bodies = append(bodies, body)
		}
	}
	// Content is looked at only if every file parsed: half a file would bring
	// problems that its author cannot see.
	if len(found) == 0 {
		l := newLoader(f, &found)
		for _, body := range bodies {
			l.read(body)
		}
		l.finish(name)
	}
	return found.err()
}
