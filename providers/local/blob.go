package local

import (
	"encoding/binary"
	"strconv"

	"github.com/keyrotor/keyrotor/core/provider"
)

// A wrap is
//
//	format (1 byte) ‖ KEK version (u32, big-endian) ‖ nonce (12) ‖ ciphertext (32) ‖ tag (16)
//
// under AES-256-GCM, bound to the file, the KEK version and the caller's AAD. The
// format is final.
const (
	wrapFormat = 1
	wrapHeader = 1 + 4
	wrapSize   = wrapHeader + 12 + provider.RootSize + 16
)

func sealWrap(key provider.Secret, id fileID, version uint32, root provider.Secret, aad []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	blob := make([]byte, 0, wrapSize)
	blob = append(blob, wrapFormat)
	blob = binary.BigEndian.AppendUint32(blob, version)
	return aead.Seal(blob, nil, root.Reveal(), wrapAAD(id, version, aad)), nil //nolint:gosec // the AEAD draws the nonce
}

// parseWrap answers the KEK version and what comes after the header.
func parseWrap(blob []byte) (version uint32, sealed []byte, err error) {
	switch {
	case len(blob) == 0:
		return 0, nil, provider.Errorf(provider.InvalidArgument, "the wrap is empty")
	case blob[0] != wrapFormat:
		return 0, nil, provider.Errorf(provider.Integrity, "the wrap has the unknown format %d", blob[0])
	case len(blob) != wrapSize:
		return 0, nil, provider.Errorf(provider.Integrity, "the wrap has %d bytes, not %d", len(blob), wrapSize)
	}
	return binary.BigEndian.Uint32(blob[1:]), blob[wrapHeader:], nil
}

func openWrap(key provider.Secret, id fileID, version uint32, sealed, aad []byte) (provider.Secret, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return provider.Secret{}, err
	}
	root, err := aead.Open(nil, nil, sealed, wrapAAD(id, version, aad))
	if err != nil {
		return provider.Secret{}, provider.Errorf(provider.Integrity,
			"the wrap under KEK version %d does not open: it was altered, or its AAD differs", version)
	}
	return provider.NewSecret(root), nil
}

func wrapAAD(id fileID, version uint32, aad []byte) []byte {
	return lengthPrefixed([]byte("keyrotor/local-wrap/v1"), id[:], u32(version), aad)
}

func versionText(v uint32) string { return strconv.FormatUint(uint64(v), 10) }
