package catalog

import (
	"context"
	"log/slog"
	"os"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// passedOn lists the host's environment variables that every plugin sees: how Go
// behaves (GODEBUG switches FIPS mode on), the time zone, which roots to trust and
// the way out to the network. Anything else may be a credential of the host or of
// another provider, and is passed only if the configuration names it for this
// type of plugin.
func passedOn() []string {
	return []string{
		"GODEBUG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY",
		"https_proxy", "http_proxy", "no_proxy",
	}
}

// environment answers the variables of the allow-list that are set, as exec.Cmd
// takes them.
func environment(extra []string, log *slog.Logger) []string {
	env := []string{wire.LogLevelEnv + "=" + levelName(log)}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(passedOn(), extra...)))) {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// levelName is the lowest level that log keeps, in hclog's words.
func levelName(log *slog.Logger) string {
	for _, l := range levels() {
		if log.Enabled(context.Background(), l.slog) {
			return l.hclog
		}
	}
	return "off"
}

type level struct {
	hclog string
	slog  slog.Level
}

// levels pairs hclog's levels with slog's, the lowest first. slog has no trace.
func levels() []level {
	return []level{
		{"trace", slog.LevelDebug - 4},
		{"debug", slog.LevelDebug},
		{"info", slog.LevelInfo},
		{"warn", slog.LevelWarn},
		{"error", slog.LevelError},
	}
}
