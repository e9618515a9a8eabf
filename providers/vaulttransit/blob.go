package vaulttransit

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/keyrotor/keyrotor/core/provider"
)

// parseBlob answers the KEK version of a wrap, which is vault:v<version>:<base64>. It
// takes what Vault writes and nothing else: Vault's decoder skips line breaks.
func parseBlob(blob string) (int, error) {
	rest, prefixed := strings.CutPrefix(blob, "vault:v")
	number, payload, split := strings.Cut(rest, ":")
	version, ok := parseVersion(number)
	if !prefixed || !split || !ok || payload == "" || strings.ContainsAny(payload, "\r\n") {
		return 0, provider.Errorf(provider.Integrity, "the wrap has not the form vault:v<version>:<base64>: it was altered")
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(payload); err != nil {
		return 0, provider.Errorf(provider.Integrity, "the wrap's payload is no base64: it was altered")
	}
	return version, nil
}

// versionIn is the version of a wrap that was parsed already.
func versionIn(blob []byte) string {
	version, _ := parseBlob(string(blob))
	return strconv.Itoa(version)
}

// wrapped is what Vault answered as ciphertext.
func (m *manager) wrapped(ciphertext string) (provider.Wrapped, error) {
	version, err := parseBlob(ciphertext)
	if err != nil {
		return provider.Wrapped{}, provider.Errorf(provider.Internal, "Vault answers a ciphertext that has not the form vault:v<version>:<base64>")
	}
	return provider.Wrapped{KEKID: m.kekID(), KEKVersion: strconv.Itoa(version), Blob: []byte(ciphertext)}, nil
}
