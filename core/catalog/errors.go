package catalog

import "fmt"

// NotPinnedError means that plugins.lock does not trust a plugin, or has no hash
// of it for this platform.
type NotPinnedError struct {
	Type string
	// Platform is set if the plugin is pinned, but not for this platform.
	Platform string
	// Pinned are the types that plugins.lock has.
	Pinned []string
}

func (e *NotPinnedError) Error() string {
	if e.Platform != "" {
		return fmt.Sprintf("plugin %q is pinned in plugins.lock, but not for %s: review the binary, then run `keyrotor plugin lock %s`", e.Type, e.Platform, e.Type)
	}
	return fmt.Sprintf("plugin %q is not pinned in plugins.lock, which has %q: review the binary, then run `keyrotor plugin lock %s`", e.Type, e.Pinned, e.Type)
}

// MismatchError means that a plugin's binary is not the one that was pinned. It
// was not started.
type MismatchError struct {
	Type, Path string
	// Expected is the hash in plugins.lock and Actual that of the file.
	Expected, Actual string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("plugin %q was not started: %s is not the binary that plugins.lock pins: expected %s, found %s. "+
		"If you replaced it on purpose, review it, then run `keyrotor plugin lock %s`", e.Type, e.Path, e.Expected, e.Actual, e.Type)
}

// UnknownProviderError means that the config has no provider of this name.
type UnknownProviderError struct {
	Name string
	// Configured are those that it has.
	Configured []string
}

func (e *UnknownProviderError) Error() string {
	return fmt.Sprintf("no provider %q is configured, there are %q", e.Name, e.Configured)
}

// callError says which provider a call failed at. The code and the
// [provider.Error] behind it are reached with errors.Is and errors.As.
type callError struct {
	instance, plugin, call string
	err                    error
}

func (e *callError) Error() string {
	return fmt.Sprintf("provider %q (plugin %s): %s: %v", e.instance, e.plugin, e.call, e.err)
}

func (e *callError) Unwrap() error { return e.err }
