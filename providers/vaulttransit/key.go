package vaulttransit

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// supportedTypes are the key types that can encrypt with authentication and any nonce.
const supportedTypes = "aes256-gcm96, aes128-gcm96 or chacha20-poly1305"

// keyInfo is a transit key as Vault describes it.
type keyInfo struct {
	Type                 string                     `json:"type"`
	Derived              bool                       `json:"derived"`
	Convergent           bool                       `json:"convergent_encryption"`
	LatestVersion        int                        `json:"latest_version"`
	MinDecryptionVersion int                        `json:"min_decryption_version"`
	MinAvailableVersion  int                        `json:"min_available_version"`
	Keys                 map[string]json.RawMessage `json:"keys"`
}

func (s *settings) keyPath() string { return s.mount + "/keys/" + s.key }

// readKey asks Vault for the key, and remembers that it is one that can be used.
func (m *manager) readKey(ctx context.Context) (*keyInfo, error) {
	r := get(m.keyPath())
	a, err := m.ask(ctx, r)
	if err != nil {
		m.info.Store(nil)
		return nil, err
	}
	info, err := decode[*keyInfo](&m.settings, r, a)
	if err == nil && (info == nil || info.Type == "" || info.LatestVersion < 1) {
		err = configError(attrMount, "what %q reads is no transit key: correct the mount", r)
	}
	if err == nil {
		err = m.usable(info)
	}
	if err != nil {
		m.info.Store(nil)
		return nil, err
	}
	m.info.Store(info)
	return info, nil
}

// key answers what was read last, or reads it. It need not be fresh: a key's type does not change while it exists.
func (m *manager) key(ctx context.Context) (*keyInfo, error) {
	if info := m.info.Load(); info != nil {
		return info, nil
	}
	return m.readKey(ctx)
}

// usable refuses the kinds of keys that cannot wrap.
func (m *manager) usable(k *keyInfo) error {
	switch {
	case !slices.Contains([]string{"aes256-gcm96", "aes128-gcm96", "chacha20-poly1305"}, k.Type):
		return configError(attrKey, "the transit key %q is of type %s, which cannot wrap: name one of type %s", m.settings.key, k.Type, supportedTypes)
	case k.Convergent:
		return configError(attrKey, "the transit key %q encrypts convergently, so that equal roots would be seen to be equal: name one that does not", m.settings.key)
	default:
		return nil
	}
}

// first is the oldest version that exists; those before it were trimmed.
func (k *keyInfo) first() int { return max(1, k.MinAvailableVersion) }

// state is that of a version; empty if there is none.
func (k *keyInfo) state(version int) provider.KeyState {
	switch {
	case version < k.first() || version > k.LatestVersion:
		return ""
	case version < k.MinDecryptionVersion:
		return provider.KeyDisabled
	default:
		return provider.KeyEnabled
	}
}

// DescribeKey reads the key. A version below min_decryption_version is disabled, and one
// that was trimmed is not listed.
func (m *manager) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	if err := m.alive(ctx); err != nil {
		return provider.DescribeKeyResponse{}, err
	}
	k, err := m.readKey(ctx)
	if err != nil {
		return provider.DescribeKeyResponse{}, err
	}
	res := provider.DescribeKeyResponse{
		KEKID: m.kekID(), State: provider.KeyEnabled, Algorithm: k.Type,
		PrimaryVersion: strconv.Itoa(k.LatestVersion), IgnoresAAD: !k.Derived,
	}
	for v := k.first(); v <= k.LatestVersion; v++ {
		text := strconv.Itoa(v)
		res.Versions = append(res.Versions, provider.KeyVersion{Version: text, State: k.state(v), Created: k.created(text)})
	}
	return res, nil
}

// created is unknown for a version below min_decryption_version, which Vault keeps in its archive.
func (k *keyInfo) created(version string) time.Time {
	var seconds int64
	if err := json.Unmarshal(k.Keys[version], &seconds); err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// parseVersion reads the version in a wrap. Only the form that Vault writes is one.
func parseVersion(text string) (int, bool) {
	n, err := strconv.ParseInt(text, 10, 32)
	return int(n), err == nil && n > 0 && !strings.HasPrefix(text, "0") && !strings.HasPrefix(text, "+")
}
