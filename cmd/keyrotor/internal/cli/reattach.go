package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core/catalog"
)

// readReattach takes the plugins that a developer runs from the environment, if the
// command line says so too: a variable alone must not switch verification off.
func (a *app) readReattach(cmd *cobra.Command) error {
	text := a.getenv(catalog.ReattachVariable)
	switch {
	case text == "" && a.global.devReattach:
		return misuse(cmd, "--dev-reattach is given, and %s is not set", catalog.ReattachVariable)
	case text == "":
		return nil
	case !a.global.devReattach:
		a.Warn("%s is set and ignored: it counts only together with --dev-reattach", catalog.ReattachVariable)
		return nil
	}
	plugins, err := catalog.ParseReattach(text)
	if err != nil {
		return fmt.Errorf("%s: %w", catalog.ReattachVariable, err)
	}
	for _, typ := range slices.Sorted(maps.Keys(plugins)) {
		a.Warn("plugin %q is NOT VERIFIED: process %d, which a developer runs, takes its place; never use it with keys that matter", typ, plugins[typ].PID)
	}
	a.reattach = plugins
	return nil
}
