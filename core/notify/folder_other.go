//go:build !unix

package notify

// syncFolder does nothing where folders cannot be synced.
func syncFolder(string) error { return nil }
