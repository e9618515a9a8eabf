//go:build exhaustive

package tier

// Exhaustive reports whether the exhaustive tier is run.
const Exhaustive = true
