package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core/backup"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/provider"
)

// versionAnswer says what a build is and which formats it speaks.
type versionAnswer struct {
	Version       string  `json:"version"`
	Commit        string  `json:"commit,omitempty"`
	Go            string  `json:"go"`
	Platform      string  `json:"os_arch"`
	ProtocolMinor uint32  `json:"protocol_minor"`
	Formats       formats `json:"formats"`
}

type formats struct {
	Event       int `json:"event"`
	Backup      int `json:"backup"`
	PluginsLock int `json:"plugins_lock"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version, and the formats that it speaks",
		Example: `  keyrotor version
  keyrotor version -o json`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			v := versionAnswer{
				Version: a.version, Commit: commit(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
				ProtocolMinor: provider.ProtocolMinor,
				Formats:       formats{Event: history.SchemaVersion, Backup: backup.Format, PluginsLock: catalog.LockFormat},
			}
			if a.JSON {
				return a.Answer(v)
			}
			return a.Printf("keyrotor %s (%s, %s; plugin protocol 1.%d)\n", v.Version, v.Go, v.Platform, v.ProtocolMinor)
		},
	}
}

// commit is what Go stamped the binary with, if it did.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
