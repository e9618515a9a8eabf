package gcpkms

import (
	"context"
	"strings"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/keyrotor/keyrotor/core/provider"
)

// pageSize is the most that Cloud KMS lists at a time.
const pageSize = 1000

// keyInfo is a CryptoKey that can wrap.
type keyInfo struct {
	// primary is the number of the primary version, empty if there is none.
	primary string
	state   kmspb.CryptoKeyVersion_CryptoKeyVersionState
	made    time.Time
	// What a new version will be like.
	algorithm kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm
	level     kmspb.ProtectionLevel
}

// readKey asks for the key, and refuses one that cannot wrap.
func (m *manager) readKey(ctx context.Context) (*keyInfo, error) {
	k, err := call(ctx, m, methodGetKey, m.key.String(), func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKey, error) {
		return c.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: m.key.String()})
	})
	if err != nil {
		return nil, err
	}
	return m.keyInfo(k)
}

func (m *manager) keyInfo(k *kmspb.CryptoKey) (*keyInfo, error) {
	if k.GetName() != m.key.String() {
		return nil, m.otherKey(k.GetName())
	}
	if k.GetPurpose() != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		return nil, configError(attrKey, "the purpose of %s is %s, which cannot wrap: name a key of purpose ENCRYPT_DECRYPT", m.key, k.GetPurpose())
	}
	info := &keyInfo{algorithm: k.GetVersionTemplate().GetAlgorithm(), level: k.GetVersionTemplate().GetProtectionLevel()}
	if p := k.GetPrimary(); p != nil {
		var err error
		if info.primary, err = m.versionOf(p.GetName()); err != nil {
			return nil, err
		}
		info.state, info.made = p.GetState(), p.GetCreateTime().AsTime()
	}
	return info, nil
}

// versionOf is the number in a version's resource name, which must be one of this key's.
func (m *manager) versionOf(name string) (string, error) {
	version, ok := strings.CutPrefix(name, m.key.String()+versionsInfix)
	if !ok || !isVersion(version) {
		return "", m.otherKey(name)
	}
	return version, nil
}

func (m *manager) otherKey(name string) error {
	return provider.BrokenPromise(provider.Integrity, "Cloud KMS answers for the key that it was asked about", "asked about %s it named %q", m.key, name)
}

// version is one of the key's, as Cloud KMS describes it.
type version struct {
	id       string
	state    kmspb.CryptoKeyVersion_CryptoKeyVersionState
	made     time.Time
	imported bool
	// Whether a new version would be of the same kind.
	algorithm kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm
	level     kmspb.ProtectionLevel
}

func (m *manager) newVersion(v *kmspb.CryptoKeyVersion) (version, error) {
	id, err := m.versionOf(v.GetName())
	if err != nil {
		return version{}, err
	}
	return version{
		id: id, state: v.GetState(), made: v.GetCreateTime().AsTime(),
		imported: v.GetImportJob() != "", algorithm: v.GetAlgorithm(), level: v.GetProtectionLevel(),
	}, nil
}

// readVersions lists all versions, in as many requests as there are pages.
func (m *manager) readVersions(ctx context.Context) ([]version, error) {
	req := &kmspb.ListCryptoKeyVersionsRequest{Parent: m.key.String(), PageSize: pageSize}
	return call(ctx, m, methodListVersions, m.key.String(), func(ctx context.Context, c *kms.KeyManagementClient) ([]version, error) {
		var versions []version
		for item, err := range c.ListCryptoKeyVersions(ctx, req).All() {
			if err != nil {
				return nil, err
			}
			v, err := m.newVersion(item)
			if err != nil {
				return nil, err
			}
			versions = append(versions, v)
		}
		return versions, nil
	})
}

// readVersion asks for one version.
func (m *manager) readVersion(ctx context.Context, id string) (version, error) {
	v, err := call(ctx, m, methodGetVersion, m.key.version(id), func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error) {
		return c.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: m.key.version(id)})
	})
	if err != nil {
		return version{}, err
	}
	return m.newVersion(v)
}

// keyState says in the contract's words what can be done with a version. One that is not
// made yet, or not imported, is disabled; one of which the making failed has no key and
// never will.
func keyState(state kmspb.CryptoKeyVersion_CryptoKeyVersionState) provider.KeyState {
	switch state {
	case kmspb.CryptoKeyVersion_ENABLED:
		return provider.KeyEnabled
	case kmspb.CryptoKeyVersion_DESTROY_SCHEDULED, kmspb.CryptoKeyVersion_PENDING_EXTERNAL_DESTRUCTION:
		return provider.KeyPendingDestruction
	case kmspb.CryptoKeyVersion_DESTROYED, kmspb.CryptoKeyVersion_EXTERNAL_DESTRUCTION_FAILED,
		kmspb.CryptoKeyVersion_GENERATION_FAILED, kmspb.CryptoKeyVersion_IMPORT_FAILED:
		return provider.KeyDestroyed
	default:
		return provider.KeyDisabled
	}
}

// DescribeKey reads the key and its versions. Cloud KMS knows no state of a key: it is that
// of the primary, by which it encrypts, and disabled without one.
func (m *manager) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	none := provider.DescribeKeyResponse{}
	if err := m.alive(ctx); err != nil {
		return none, err
	}
	k, err := m.readKey(ctx)
	if err != nil {
		return none, err
	}
	versions, err := m.readVersions(ctx)
	if err != nil {
		return none, err
	}
	res := provider.DescribeKeyResponse{
		KEKID: m.key.String(), State: provider.KeyDisabled,
		Algorithm: k.algorithm.String() + "/" + k.level.String(), PrimaryVersion: k.primary,
	}
	listed := k.primary == ""
	for _, v := range versions {
		res.Versions = append(res.Versions, provider.KeyVersion{Version: v.id, State: keyState(v.state), Created: v.made})
		listed = listed || v.id == k.primary
	}
	if !listed { // a list that lags behind
		res.Versions = append(res.Versions, provider.KeyVersion{Version: k.primary, State: keyState(k.state), Created: k.made})
	}
	if k.primary != "" {
		res.State = keyState(k.state)
	}
	return res, nil
}
