// Package bubble prepares the tests of a package for bubbles of testing/synctest, in
// which time stands still.
package bubble

import (
	"crypto/fips140"
	"crypto/rand"
	"runtime"
)

// Prepare, called by TestMain, lets bubbles draw random numbers. In FIPS 140 mode a
// generator takes its seed from how time passes, which is impossible there. So one is
// seeded now, and kept from being in use twice at the same moment, when Go would make
// another: that takes two processors.
func Prepare() {
	_, _ = rand.Read(make([]byte, 1)) // never fails
	if fips140.Enabled() {
		runtime.GOMAXPROCS(1)
	}
}
