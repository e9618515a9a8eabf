package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxSource is the largest config file in bytes.
const maxSource = 4 << 20

// dropIn is the folder whose files count as part of the config beside it.
const dropIn = "providers.d"

// source is one config file as read. The name is as people see it in messages.
type source struct {
	name string
	data []byte
}

func (s source) isJSON() bool { return filepath.Ext(s.name) == ".json" }

func isConfigName(name string) bool {
	ext := filepath.Ext(name)
	return ext == ".hcl" || ext == ".json"
}

// readSources reads the files that make up the config at path, and answers the
// folder that it lives in.
func readSources(path string) ([]source, string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", fmt.Errorf("read config: %w", err)
	}
	dir, names := path, []string{path}
	switch {
	case info.IsDir():
		if names, err = configsIn(path); err != nil {
			return nil, "", err
		}
	case isConfigName(path):
		dir = filepath.Dir(path)
	default:
		return nil, "", &Error{Problems: []Problem{{
			File: path, Summary: "not a config file", Detail: "its name must end in .hcl or .json",
		}}}
	}
	more, err := configsIn(filepath.Join(dir, dropIn))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	names = append(names, more...)
	if len(names) == 0 {
		return nil, "", &Error{Problems: []Problem{{
			File: path, Summary: "no config in this folder", Detail: "it needs at least one .hcl or .json file",
		}}}
	}
	sources, err := readAll(names)
	return sources, dir, err
}

// configsIn lists the config files of a folder in the order of their names. It
// leaves hidden files out: editors keep their locks in them.
func configsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	var names []string
	for _, e := range entries {
		if isConfigName(e.Name()) && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}

func readAll(names []string) ([]source, error) {
	var found problems
	sources := make([]source, 0, len(names))
	for _, name := range names {
		data, err := readRegular(name, maxSource)
		var refused *refusedFile
		switch {
		case errors.As(err, &refused):
			found = append(found, Problem{File: name, Summary: refused.reason})
		case err != nil:
			return nil, fmt.Errorf("read config: %w", err)
		default:
			sources = append(sources, source{name: name, data: data})
		}
	}
	return sources, found.err()
}

// refusedFile is a file that can be read, but that we do not want.
type refusedFile struct{ reason string }

func (e *refusedFile) Error() string { return e.reason }

// readRegular reads a text file of at most limit bytes. Anything but a regular
// file is refused before it is opened: a pipe would block, a device has no end.
func readRegular(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &refusedFile{"not a regular file"}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, &refusedFile{fmt.Sprintf("larger than %d MiB", limit>>20)}
	case !utf8.Valid(data):
		return nil, &refusedFile{"not UTF-8 text"}
	case bytes.IndexByte(data, 0) >= 0:
		return nil, &refusedFile{"holds a NUL byte"}
	}
	return data, nil
}
