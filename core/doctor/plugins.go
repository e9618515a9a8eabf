package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/keyrotor/keyrotor/core/catalog"
)

const (
	pluginsLock        check = "plugins.lock"
	pluginsDirectory   check = "plugins.directory"
	pluginsPermissions check = "plugins.permissions"
	pluginsPinned      check = "plugins.pinned"
)

// Lock says whether plugins.lock was read; the error is that of catalog.ReadLock.
func Lock(path string, lock *catalog.Lock, err error) Finding {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return pluginsLock.fail(path, "there is no lock file, so no plugin runs", "review the plugins, then run `keyrotor plugin lock`")
	case err != nil:
		return pluginsLock.fail(path, err.Error(), fmt.Sprintf("restore %s; or review the plugins, remove the file and run `keyrotor plugin lock`", path))
	default:
		return pluginsLock.ok(path, "pins %s", listed(lock.Types()))
	}
}

// PluginFiles looks at who may change what decides over the plugins: the lock file
// and the plugin directory. Those that are not there are nil.
func PluginFiles(lock, directory *File) []Finding {
	var findings []Finding
	if lock != nil {
		if hasModes && lock.Mode&0o022 != 0 {
			findings = append(findings, pluginsPermissions.fail(lock.Path,
				modeText(*lock)+" lets other users choose which programs are given your credentials", "chmod go-w "+lock.Path))
		} else {
			findings = append(findings, pluginsPermissions.ok(lock.Path, "%s", modeText(*lock)))
		}
	}
	if directory != nil {
		if everybodyReplaces(*directory) {
			findings = append(findings, pluginsPermissions.fail(directory.Path,
				modeText(*directory)+" lets every user replace the plugins", "chmod o-w "+directory.Path))
		} else {
			findings = append(findings, pluginsPermissions.ok(directory.Path, "%s", modeText(*directory)))
		}
	}
	return findings
}

// PluginDirectory says that the plugin directory cannot be listed.
func PluginDirectory(path string, err error) Finding {
	return pluginsDirectory.fail(path, err.Error(), `put the plugins there, or correct "directory" in the config's plugins block`)
}

// Plugin is a plugin that is pinned, that the config uses or that lies in the plugin
// directory.
type Plugin struct {
	Type string
	// Path is where its binary is, or would be.
	Path   string
	Pinned bool
	// Used: a provider of the config is of this type.
	Used bool
	// Version is what it said when it was pinned.
	Version string
	// Err is what catalog.Lock.Verify answers.
	Err error
}

// Plugins compares binaries with their pins.
func Plugins(plugins []Plugin) []Finding {
	var findings []Finding
	for _, p := range plugins {
		findings = append(findings, p.examine())
	}
	return findings
}

func (p Plugin) examine() Finding {
	pin := fmt.Sprintf("review %s, then run `keyrotor plugin lock %s`", p.Path, p.Type)
	if changed, ok := errors.AsType[*catalog.MismatchError](p.Err); ok {
		return pluginsPinned.fail(p.Type, fmt.Sprintf("%s is %s, and %s is pinned", changed.Path, changed.Actual, changed.Expected),
			"find out who replaced it; if it was you, "+pin)
	}
	unpinned, notPinned := errors.AsType[*catalog.NotPinnedError](p.Err)
	switch {
	case p.Err == nil:
		return pluginsPinned.ok(p.Type, "version %s, as pinned", p.Version)
	case notPinned && unpinned.Platform != "":
		return pluginsPinned.fail(p.Type, "it is pinned, but not for "+unpinned.Platform, pin)
	case notPinned && !p.Used:
		return pluginsPinned.warn(p.Type, p.Path+" lies there and is not pinned, so it does not run", "remove it, or "+pin)
	case notPinned:
		return pluginsPinned.fail(p.Type, "the config uses it, and it is not pinned", pin)
	case errors.Is(p.Err, fs.ErrNotExist):
		return pluginsPinned.fail(p.Type, p.Path+" is not there", fmt.Sprintf("put the binary that was pinned into %s", filepath.Dir(p.Path)))
	default:
		return pluginsPinned.fail(p.Type, p.Err.Error(), "correct that, then run `keyrotor plugin verify`")
	}
}

// listed says "a, b", or "nothing".
func listed(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
