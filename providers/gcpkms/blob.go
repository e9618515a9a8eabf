package gcpkms

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/keyrotor/keyrotor/core/provider"
)

// A wrap is "v", the KEK version that Cloud KMS named when it encrypted, ":" and the
// ciphertext as it came. Cloud KMS does not say which version opens a ciphertext, nor does
// the ciphertext; so who opens a wrap learns it from here, without a request. The format is
// final.

// newBlob takes what Encrypt answered.
func newBlob(version string, ciphertext []byte) []byte {
	blob := make([]byte, 0, len("v:")+len(version)+len(ciphertext))
	return append(append(append(append(blob, 'v'), version...), ':'), ciphertext...)
}

// parseBlob answers the version and the ciphertext of a wrap, which it shares with it.
func parseBlob(blob []byte) (version string, ciphertext []byte, err error) {
	rest, marked := bytes.CutPrefix(blob, []byte("v"))
	number, ciphertext, split := bytes.Cut(rest, []byte(":"))
	if !marked || !split || len(ciphertext) == 0 || !isVersion(string(number)) {
		return "", nil, provider.Errorf(provider.Integrity, "the wrap has not the form v<version>:<ciphertext>: it was altered")
	}
	return string(number), ciphertext, nil
}

// isVersion tells the numbers that Cloud KMS gives to versions, as it writes them.
func isVersion(text string) bool { return versionNumber(text) > 0 }

// versionNumber is zero for what is no version.
func versionNumber(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strings.HasPrefix(text, "0") || strings.HasPrefix(text, "+") {
		return 0
	}
	return n
}
