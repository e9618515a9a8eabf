package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/keyrotor/keyrotor/core/catalog"
)

func TestLock(t *testing.T) {
	two := &catalog.Lock{Plugins: map[string]catalog.LockedPlugin{"local": {}, "aws-kms": {}}}
	expect(t, "lock", []Finding{
		Lock("/k/plugins.lock", two, nil),
		Lock("/k/plugins.lock", catalog.NewLock(), nil),
		Lock("/k/plugins.lock", nil, fmt.Errorf("no plugin is pinned: %w", fs.ErrNotExist)),
		Lock("/k/plugins.lock", nil, errors.New("not a lock file")),
	}, `
ok plugins.lock [/k/plugins.lock] pins aws-kms, local
ok plugins.lock [/k/plugins.lock] pins nothing
fail plugins.lock [/k/plugins.lock] there is no lock file, so no plugin runs
  -> review the plugins, then run `+"`keyrotor plugin lock`"+`
fail plugins.lock [/k/plugins.lock] not a lock file
  -> restore /k/plugins.lock; or review the plugins, remove the file and run `+"`keyrotor plugin lock`"+`
`)
}

func TestPluginFiles(t *testing.T) {
	expect(t, "in order", PluginFiles(&File{"/k/plugins.lock", 0o644}, &File{"/p", fs.ModeDir | 0o775}), `
ok plugins.permissions [/k/plugins.lock] mode 0644
ok plugins.permissions [/p] mode 0775
`)
	expect(t, "writable", PluginFiles(&File{"/k/plugins.lock", 0o664}, &File{"/p", fs.ModeDir | 0o777}), `
fail plugins.permissions [/k/plugins.lock] mode 0664 lets other users choose which programs are given your credentials
  -> chmod go-w /k/plugins.lock
fail plugins.permissions [/p] mode 0777 lets every user replace the plugins
  -> chmod o-w /p
`)
	expect(t, "nothing there", PluginFiles(nil, nil), "")
	expect(t, "no directory", []Finding{PluginDirectory("/p", errors.New("plugin directory: no such file"))}, `
fail plugins.directory [/p] plugin directory: no such file
  -> put the plugins there, or correct "directory" in the config's plugins block
`)
}

func TestPlugins(t *testing.T) {
	plugin := func(used bool, err error) Plugin {
		return Plugin{Type: "local", Path: "/p/keyrotor-plugin-local", Version: "1.2.0", Used: used, Err: err}
	}
	const lock = "review /p/keyrotor-plugin-local, then run `keyrotor plugin lock local`"
	expect(t, "plugins", Plugins([]Plugin{
		plugin(true, nil),
		plugin(true, &catalog.MismatchError{Path: "/p/keyrotor-plugin-local", Expected: "sha256:aa", Actual: "sha256:bb"}),
		plugin(true, &catalog.NotPinnedError{Type: "local"}),
		plugin(false, &catalog.NotPinnedError{Type: "local"}),
		plugin(false, &catalog.NotPinnedError{Type: "local", Platform: "linux/arm64"}),
		plugin(true, fmt.Errorf("plugin: %w", fs.ErrNotExist)),
		plugin(true, errors.New("/p/keyrotor-plugin-local is not executable: chmod 755 it")),
	}), `
ok plugins.pinned [local] version 1.2.0, as pinned
fail plugins.pinned [local] /p/keyrotor-plugin-local is sha256:bb, and sha256:aa is pinned
  -> find out who replaced it; if it was you, `+lock+`
fail plugins.pinned [local] the config uses it, and it is not pinned
  -> `+lock+`
warn plugins.pinned [local] /p/keyrotor-plugin-local lies there and is not pinned, so it does not run
  -> remove it, or `+lock+`
fail plugins.pinned [local] it is pinned, but not for linux/arm64
  -> `+lock+`
fail plugins.pinned [local] /p/keyrotor-plugin-local is not there
  -> put the binary that was pinned into /p
fail plugins.pinned [local] /p/keyrotor-plugin-local is not executable: chmod 755 it
  -> correct that, then run `+"`keyrotor plugin verify`"+`
`)
}
