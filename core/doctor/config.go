package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
)

const (
	configValid       check = "config.valid"
	configDeprecated  check = "config.deprecated"
	configPermissions check = "config.permissions"
	configLeftovers   check = "config.leftovers"
	configData        check = "config.data"
)

// Config says whether a config file was read, and what is wrong in it. The error is
// that of config.Load, or of the checks of its provider blocks; the file is nil if it
// could not be read at all.
func Config(path string, file *config.File, err error) []Finding {
	problems, ok := errors.AsType[*config.Error](err)
	switch {
	case ok:
		var findings []Finding
		for _, p := range problems.Problems {
			findings = append(findings, configProblem(p))
		}
		return findings
	case err != nil:
		return []Finding{configValid.fail(path, err.Error(),
			"name the file by --config or KEYROTOR_CONFIG; `keyrotor init DIR` makes one")}
	default:
		return []Finding{configValid.ok(path, "%s, %s, store %s",
			count(len(file.Providers), "provider"), count(len(file.Keys), "key block"), file.Storage.Path)}
	}
}

func configProblem(p config.Problem) Finding {
	next := p.Detail
	if next == "" {
		next = "correct it; `keyrotor config validate` tells whether it is right"
	}
	return configValid.fail(configPlace(p), p.Summary, next)
}

func configPlace(p config.Problem) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Targets says what is wrong with the notify blocks beyond what they say.
func Targets(path string, err error) Finding {
	return configValid.fail(path, err.Error(), "correct it: no command works until then; `keyrotor config validate` tells whether it is right")
}

// Deprecated lists what a config file should no longer say.
func Deprecated(warnings []config.Problem) []Finding {
	var findings []Finding
	for _, w := range warnings {
		findings = append(findings, configDeprecated.warn(configPlace(w), w.Summary, w.Detail))
	}
	return findings
}

// Data says of each path of the data blocks whether it can be read; the error is that
// of trying to.
func Data(paths []string, err func(path string) error) []Finding {
	var findings []Finding
	for _, path := range paths {
		if err := err(path); err != nil {
			findings = append(findings, configData.fail(path, err.Error(),
				"mount it, or let this user read it, or take it out of the data block: no key version can be destroyed while it is not searched"))
		} else {
			findings = append(findings, configData.ok(path, "it can be read"))
		}
	}
	return findings
}

// File is a file or folder that is there.
type File struct {
	Path string
	Mode fs.FileMode
}

// ConfigFiles looks at the permissions of the config's files and of its folder.
// Inline are the secrets that stand in the files.
func ConfigFiles(folder File, files []File, inline []config.Problem) []Finding {
	var findings []Finding
	if everybodyReplaces(folder) {
		findings = append(findings, configPermissions.fail(folder.Path,
			modeText(folder)+" lets every user replace the config file", "chmod o-w "+folder.Path))
	}
	for _, f := range files {
		var secret *config.Problem
		for i := range inline {
			if inline[i].File == f.Path {
				secret = &inline[i]
				break
			}
		}
		switch {
		case everybodyWrites(f):
			findings = append(findings, configPermissions.fail(f.Path,
				modeText(f)+" lets every user change which plugins are given which credentials", "chmod o-w "+f.Path))
		case secret != nil && othersRead(f):
			findings = append(findings, configPermissions.fail(f.Path,
				fmt.Sprintf("%s lets other users read it, and line %d: %s", modeText(f), secret.Line, secret.Summary),
				fmt.Sprintf("chmod 600 %s, or %s", f.Path, secret.Detail)))
		case secret != nil:
			findings = append(findings, configPermissions.ok(f.Path, "%s, and it holds a secret (line %d)", modeText(f), secret.Line))
		default:
			findings = append(findings, configPermissions.ok(f.Path, "%s, and no secret stands in it", modeText(f)))
		}
	}
	return findings
}

// ConfigLeftovers lists the drafts of a config file that `keyrotor init` left in the
// folder when it was killed.
func ConfigLeftovers(folder string, drafts []fs.FileInfo, now time.Time) []Finding {
	return leftovers(configLeftovers, folder, drafts, now)
}

func modeText(f File) string { return fmt.Sprintf("mode %04o", f.Mode.Perm()) }

// Where files have no mode bits, the system's own lists decide.
const hasModes = runtime.GOOS != "windows"

// everybodyWrites reports whether every user may write the file.
func everybodyWrites(f File) bool { return hasModes && f.Mode&0o002 != 0 }

// everybodyReplaces reports whether every user may replace the files in a folder. In
// a sticky one, like /tmp, only a file's owner may.
func everybodyReplaces(folder File) bool {
	return everybodyWrites(folder) && folder.Mode&fs.ModeSticky == 0
}

// othersRead reports whether users other than the owner may read the file.
func othersRead(f File) bool { return hasModes && f.Mode&0o044 != 0 }

// open reports whether users other than the owner may do anything with the file.
func open(f File) bool { return hasModes && f.Mode&0o077 != 0 }
