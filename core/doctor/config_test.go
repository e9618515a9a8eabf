package doctor

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
)

func TestConfig(t *testing.T) {
	file := &config.File{
		Storage: config.Storage{Path: "/k/keyrotor.db"}, Keys: []config.Key{{Name: "payments"}}, Providers: make([]config.Provider, 2),
	}
	expect(t, "valid", Config("/k/keyrotor.hcl", file, nil), `
ok config.valid [/k/keyrotor.hcl] 2 providers, 1 key block, store /k/keyrotor.db
`)
	expect(t, "unreadable", Config("/k/keyrotor.hcl", nil, errors.New("read config: no such file")), `
fail config.valid [/k/keyrotor.hcl] read config: no such file
  -> name the file by --config or KEYROTOR_CONFIG; `+"`keyrotor init DIR`"+` makes one
`)
	expect(t, "invalid", Config("/k/keyrotor.hcl", nil, &config.Error{Problems: []config.Problem{
		{File: "k.hcl", Line: 3, Column: 5, Summary: "unknown attribute", Detail: `did you mean "path"?`},
		{File: "k.hcl", Summary: "no storage block"},
	}}), `
fail config.valid [k.hcl:3:5] unknown attribute
  -> did you mean "path"?
fail config.valid [k.hcl] no storage block
  -> correct it; `+"`keyrotor config validate`"+` tells whether it is right
`)
	expect(t, "deprecated", Deprecated([]config.Problem{{File: "k.hcl", Line: 3, Column: 5, Summary: `attribute "tls" is deprecated`, Detail: "it is always on"}}), `
warn config.deprecated [k.hcl:3:5] attribute "tls" is deprecated
  -> it is always on
`)
}

func TestData(t *testing.T) {
	expect(t, "data", Data([]string{"/a", "/b"}, func(path string) error {
		if path == "/b" {
			return errors.New("open /b: permission denied")
		}
		return nil
	}), `
ok config.data [/a] it can be read
fail config.data [/b] open /b: permission denied
  -> mount it, or let this user read it, or take it out of the data block: no key version can be destroyed while it is not searched
`)
	expect(t, "none", Data(nil, nil), "")
}

func TestConfigFiles(t *testing.T) {
	secret := []config.Problem{{File: "k.hcl", Line: 12, Column: 3, Summary: `attribute "passphrase" is a secret`, Detail: `take it from env("NAME")`}}
	for name, c := range map[string]struct {
		folder, file fs.FileMode
		inline       []config.Problem
		want         string
	}{
		"private": {0o700, 0o600, nil, `
ok config.permissions [k.hcl] mode 0600, and no secret stands in it
`},
		"public without a secret": {0o755, 0o644, nil, `
ok config.permissions [k.hcl] mode 0644, and no secret stands in it
`},
		"private with a secret": {0o755, 0o600, secret, `
ok config.permissions [k.hcl] mode 0600, and it holds a secret (line 12)
`},
		"public with a secret": {0o755, 0o640, secret, `
fail config.permissions [k.hcl] mode 0640 lets other users read it, and line 12: attribute "passphrase" is a secret
  -> chmod 600 k.hcl, or take it from env("NAME")
`},
		"writable": {0o755, 0o602, secret, `
fail config.permissions [k.hcl] mode 0602 lets every user change which plugins are given which credentials
  -> chmod o-w k.hcl
`},
		"folder": {0o777, 0o600, nil, `
fail config.permissions [/k] mode 0777 lets every user replace the config file
  -> chmod o-w /k
ok config.permissions [k.hcl] mode 0600, and no secret stands in it
`},
		"sticky folder": {0o777 | fs.ModeSticky, 0o600, nil, `
ok config.permissions [k.hcl] mode 0600, and no secret stands in it
`},
	} {
		expect(t, name, ConfigFiles(File{"/k", fs.ModeDir | c.folder}, []File{{"k.hcl", c.file}}, c.inline), c.want)
	}
}

func TestConfigLeftovers(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	expect(t, "drafts", ConfigLeftovers("/k", []fs.FileInfo{
		fileAt(t, ".init-1.hcl", 0o600, 0, now.Add(-time.Hour)), fileAt(t, ".init-2.hcl", 0o600, 0, now.Add(-time.Minute)),
	}, now), `
warn config.leftovers [/k/.init-1.hcl] a process that was killed left it 1h0m ago
  -> rm /k/.init-1.hcl
`)
}

// fileAt is a file as the file system describes it.
func fileAt(t *testing.T, name string, mode fs.FileMode, size int, at time.Time) fs.FileInfo {
	t.Helper()
	files := fstest.MapFS{name: {Data: make([]byte, size), Mode: mode, ModTime: at}}
	info, err := files.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
