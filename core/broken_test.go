package core_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/provider"
)

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// unread are the groups that nobody can look at without a config.
func unread(why string, groups ...string) []expected {
	var skipped []expected
	for _, group := range groups {
		skipped = append(skipped, expected{doctor.Skipped, group, "", why, ""})
	}
	return skipped
}

func brokenConfigs() map[string]func(*testing.T, patient) []expected {
	everything := []string{"plugins", "provider", "store", "key", "history", "pending", "rotation", "notify"}
	return map[string]func(*testing.T, patient) []expected{
		"config gone": func(t *testing.T, p patient) []expected {
			remove(t, p.config)
			return append([]expected{{
				doctor.Fail, "config.valid", p.config, "no such file", "name the file by --config or KEYROTOR_CONFIG; `keyrotor init DIR` makes one",
			}}, unread("the config cannot be read", everything...)...)
		},
		"config does not parse": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, "provider {")
			return append([]expected{{
				doctor.Fail, "config.valid", p.config + ":16:10", "unclosed configuration block", "its closing brace } is missing",
			}}, unread("the config cannot be read", everything...)...)
		},
		"one block is wrong": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, "provider \"local\" \"second\" {\n  pth = \"x\"\n}\n")
			return []expected{
				{doctor.Fail, "config.valid", p.config + ":16:1", `missing attribute "path"`, "correct it; `keyrotor config validate` tells whether it is right"},
				{doctor.Fail, "config.valid", p.config + ":17:3", `unknown attribute "pth"`, `did you mean "path"?`},
				{doctor.Skipped, "provider.reachable", "second", "its block in the config is not valid", ""},
			}
		},
		"config open to others": func(t *testing.T, p patient) []expected {
			chmod(t, p.config, 0o602)
			return []expected{{
				doctor.Fail, "config.permissions", p.config, "mode 0602 lets every user change which plugins are given which credentials", "chmod o-w " + p.config,
			}}
		},
		"secret in the config": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, "provider \"local\" \"second\" {\n  path = \"second.kek\"\n  passphrase = \"correct horse\"\n}\n")
			chmod(t, p.config, 0o644)
			return append([]expected{{
				doctor.Fail, "config.permissions", p.config, `mode 0644 lets other users read it, and line 18: attribute "passphrase" in provider "local" "second" is a secret`,
				"chmod 600 " + p.config + `, or take it from env("NAME") or file("path")`,
			}}, noKEK("second")...)
		},
		"data gone": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, "data \"files\" \"app\" {\n  paths = [\"app\", \"lost\", \"values.env\"]\n}\n")
			if err := errors.Join(os.Mkdir(p.file("app"), 0o700), os.WriteFile(p.file("values.env"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			return []expected{{
				doctor.Fail, "config.data", p.file("lost"), "no such file",
				"mount it, or let this user read it, or take it out of the data block: no key version can be destroyed while it is not searched",
			}}
		},
		"init cut off": func(t *testing.T, p patient) []expected {
			return []expected{left(t, p.file(".init-1.hcl"), "config.leftovers")}
		},
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// left is a file that a killed process left behind an hour ago.
func left(t *testing.T, path, check string) expected {
	t.Helper()
	at := time.Now().Add(-time.Hour - time.Second)
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
		t.Fatal(err)
	}
	return expected{doctor.Warn, check, path, "a process that was killed left it ", "rm " + path}
}

func brokenPlugins() map[string]func(*testing.T, patient) []expected {
	notAsked := expected{doctor.Skipped, "provider.reachable", "local", "its plugin would not be started", ""}
	noPlugin := expected{doctor.Skipped, "provider.reachable", "local", "no plugin can be started", ""}
	return map[string]func(*testing.T, patient) []expected{
		"lock gone": func(t *testing.T, p patient) []expected {
			remove(t, p.file("plugins.lock"))
			return []expected{
				{doctor.Fail, "plugins.lock", p.file("plugins.lock"), "there is no lock file", "review the plugins, then run `keyrotor plugin lock`"}, noPlugin,
			}
		},
		"lock torn": func(t *testing.T, p patient) []expected {
			if err := os.Truncate(p.file("plugins.lock"), 100); err != nil {
				t.Fatal(err)
			}
			return []expected{{
				doctor.Fail, "plugins.lock", p.file("plugins.lock"), "not a lock file",
				"restore " + p.file("plugins.lock") + "; or review the plugins, remove the file and run `keyrotor plugin lock`",
			}, noPlugin}
		},
		"lock open to others": func(t *testing.T, p patient) []expected {
			chmod(t, p.file("plugins.lock"), 0o664)
			return []expected{{
				doctor.Fail, "plugins.permissions", p.file("plugins.lock"), "mode 0664", "chmod go-w " + p.file("plugins.lock"),
			}}
		},
		"plugin changed": func(t *testing.T, p patient) []expected {
			remove(t, p.plugin("local")) // its twins have it, too
			copyFile(t, p.config, p.plugin("local"), 0o755)
			return []expected{{
				doctor.Fail, "plugins.pinned", "local", p.plugin("local") + " is sha256:",
				"find out who replaced it; if it was you, review " + p.plugin("local") + ", then run `keyrotor plugin lock local`",
			}, notAsked}
		},
		"plugin gone": func(t *testing.T, p patient) []expected {
			remove(t, p.plugin("local"))
			return []expected{{
				doctor.Fail, "plugins.pinned", "local", p.plugin("local") + " is not there", "put the binary that was pinned into " + p.plugins,
			}, notAsked}
		},
		"plugin directory gone": func(t *testing.T, p patient) []expected {
			if err := os.RemoveAll(p.plugins); err != nil {
				t.Fatal(err)
			}
			return []expected{
				{doctor.Fail, "plugins.directory", p.plugins, "no such file", `put the plugins there, or correct "directory" in the config's plugins block`},
				{doctor.Fail, "plugins.pinned", "local", p.plugin("local") + " is not there", "put the binary that was pinned into " + p.plugins},
				notAsked,
			}
		},
		"plugin directory open to others": func(t *testing.T, p patient) []expected {
			chmod(t, p.plugins, 0o777)
			return []expected{
				{doctor.Fail, "plugins.permissions", p.plugins, "mode 0777 lets every user replace the plugins", "chmod o-w " + p.plugins},
				{doctor.Fail, "plugins.pinned", "local", "can be written by everybody: chmod o-w it", "correct that, then run `keyrotor plugin verify`"},
				notAsked,
			}
		},
		"plugin not pinned": func(t *testing.T, p patient) []expected {
			copyFile(t, p.plugin("local"), p.plugin("other"), 0o755)
			return []expected{{
				doctor.Warn, "plugins.pinned", "other", p.plugin("other") + " lies there and is not pinned",
				"remove it, or review " + p.plugin("other") + ", then run `keyrotor plugin lock other`",
			}}
		},
	}
}

// noAnswer is a provider that fails whatever it is asked.
func noAnswer(provider, evidence, next string) []expected {
	return []expected{
		{doctor.Fail, "provider.reachable", provider, evidence, next},
		{doctor.Fail, "provider.kek", provider, evidence, next},
		{doctor.Skipped, "provider.wraps", provider, "it does not describe its key-encryption key", ""},
	}
}

func noKEK(provider string) []expected {
	return noAnswer(provider, "NOT_FOUND_KEY",
		"restore the key-encryption key, for nothing else opens its wraps; if there never was one, run `keyrotor kek create "+provider+"`")
}

func brokenProviders() map[string]func(*testing.T, patient) []expected {
	return map[string]func(*testing.T, patient) []expected{
		"KEK gone": func(t *testing.T, p patient) []expected {
			remove(t, p.file("keyrotor.kek"))
			return noKEK("local")
		},
		"KEK open to others": func(t *testing.T, p patient) []expected {
			chmod(t, p.file("keyrotor.kek"), 0o644)
			return noAnswer("local", "INVALID_CONFIG", `correct "path" of provider "local" in the config file, or what it names`)
		},
		"KEK torn": func(t *testing.T, p patient) []expected {
			if err := os.Truncate(p.file("keyrotor.kek"), 50); err != nil {
				t.Fatal(err)
			}
			return noAnswer("local", "INTEGRITY", "restore the key-encryption key from its backup, and find out who or what altered it")
		},
		"another KEK": func(t *testing.T, p patient) []expected {
			appendTo(t, p.config, "provider \"local\" \"second\" {\n  path = \"second.kek\"\n}\n")
			kr := open(t, p.config)
			if _, err := kr.CreateKEK(t.Context(), "second"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(p.file("second.kek"), p.file("keyrotor.kek")); err != nil {
				t.Fatal(err)
			}
			return append([]expected{{
				doctor.Fail, "provider.wraps", "local", "2 wraps are by local:",
				`set the block of provider "local" back to that key, and give the new one a block of its own`,
			}}, noKEK("second")...)
		},
		"KEK rotated outside": func(t *testing.T, p patient) []expected {
			rotateKEK(t, p)
			return []expected{
				{doctor.Warn, "provider.wraps", "local", "2 wraps are by older versions of the key-encryption key than the primary, 2", "run `keyrotor kek rewrap local`"},
				{doctor.Warn, "provider.rotated", "local", "is 2, and the history knows of 1: it was rotated outside", "find out who rotated it, then run `keyrotor kek rewrap local`"},
			}
		},
	}
}

// rotateKEK rotates the key-encryption key without Keyrotor's knowledge.
func rotateKEK(t *testing.T, p patient) {
	t.Helper()
	km, err := open(t, p.config).Catalog.Provider("local")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := km.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "1"}); err != nil {
		t.Fatal(err)
	}
}
