package awskms

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyrotor/keyrotor/core/provider"
)

// keyInfo is a KMS key as AWS describes it.
type keyInfo struct {
	arn, account string
	state        types.KeyState
	// current is the id of the key material that encrypts; empty in a custom key store.
	current string
	created time.Time
	// primary is the ARN to rotate at, if this one is a replica.
	primary string
}

// arn answers the key's ARN, which is asked for once.
func (m *manager) arn(ctx context.Context) (string, error) {
	if arn := m.pinned.Load(); arn != nil {
		return *arn, nil
	}
	k, err := m.read(ctx)
	if err != nil {
		return "", err
	}
	return k.arn, nil
}

// ready answers the ARN for a call that somebody waits for.
func (m *manager) ready(ctx context.Context) (string, error) {
	if err := m.alive(ctx); err != nil {
		return "", err
	}
	return m.arn(ctx)
}

// read describes the key by the name in the block, so that an alias that was moved is
// noticed. What is under way goes on with the key that the alias named first.
func (m *manager) read(ctx context.Context) (*keyInfo, error) {
	out, err := ask(ctx, m, "DescribeKey", &kms.DescribeKeyInput{KeyId: &m.key.text}, (*kms.Client).DescribeKey)
	if err != nil {
		return nil, err
	}
	d := out.KeyMetadata
	if d == nil || d.Arn == nil || keyARN.FindStringSubmatch(*d.Arn) == nil {
		return nil, provider.BrokenPromise(provider.Internal, "AWS describes a key by its ARN", "it gave none to DescribeKey")
	}
	if d.KeySpec != types.KeySpecSymmetricDefault || d.KeyUsage != types.KeyUsageTypeEncryptDecrypt {
		return nil, configError(attrKeyID, "%s is a key of spec %s for %s: name a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)",
			*d.Arn, d.KeySpec, d.KeyUsage)
	}
	if !m.pinned.CompareAndSwap(nil, d.Arn) {
		if first := *m.pinned.Load(); first != *d.Arn {
			return nil, m.movedError(first, *d.Arn)
		}
	}
	k := &keyInfo{
		arn: *d.Arn, account: aws.ToString(d.AWSAccountId), state: d.KeyState,
		current: aws.ToString(d.CurrentKeyMaterialId), created: aws.ToTime(d.CreationDate),
	}
	if mr := d.MultiRegionConfiguration; mr != nil && mr.MultiRegionKeyType == types.MultiRegionKeyTypeReplica && mr.PrimaryKey != nil {
		k.primary = aws.ToString(mr.PrimaryKey.Arn)
	}
	return k, nil
}

func (m *manager) movedError(first, now string) error {
	if !m.key.alias {
		return provider.BrokenPromise(provider.Integrity, "AWS describes the key that was asked for", "asked for %q it described %q", first, now)
	}
	return configError(attrKeyID, "%s named %s when this began, and names %s now. Point it back; or give the new key a provider block "+
		"of its own and move to it with `keyrotor key migrate`, for wraps by the old key need the old key", m.key.text, first, now)
}

// DescribeKey answers the key, and its key materials as versions.
func (m *manager) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	none := provider.DescribeKeyResponse{}
	if err := m.alive(ctx); err != nil {
		return none, err
	}
	k, err := m.read(ctx)
	if err != nil {
		return none, err
	}
	res := provider.DescribeKeyResponse{
		KEKID: k.arn, State: keyState(k.state), Algorithm: string(types.KeySpecSymmetricDefault), PrimaryVersion: k.current,
	}
	if k.current == "" {
		return res, nil
	}
	if res.Versions, err = m.versions(ctx, k); err != nil {
		return none, err
	}
	return res, nil
}

// keyState says what can be done with a key. One that is being made, has lost its
// imported material or its key store is as good as disabled; one whose region of primary
// is changing works.
func keyState(s types.KeyState) provider.KeyState {
	switch s {
	case types.KeyStateEnabled, types.KeyStateUpdating:
		return provider.KeyEnabled
	case types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion:
		return provider.KeyPendingDestruction
	default:
		return provider.KeyDisabled
	}
}

// versions lists the key materials. The list may lag behind the key, and nobody of another
// account may read it: then there is the current one at least.
func (m *manager) versions(ctx context.Context, k *keyInfo) ([]provider.KeyVersion, error) {
	var out []provider.KeyVersion
	in := &kms.ListKeyRotationsInput{KeyId: &k.arn, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial}
	for {
		page, err := ask(ctx, m, "ListKeyRotations", in, (*kms.Client).ListKeyRotations)
		if errors.Is(err, provider.Denied) || errors.Is(err, provider.Unsupported) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, r := range page.Rotations {
			if v, ok := version(r, k); ok {
				out = append(out, v)
			}
		}
		if !page.Truncated || aws.ToString(page.NextMarker) == "" || aws.ToString(page.NextMarker) == aws.ToString(in.Marker) {
			break
		}
		in.Marker = page.NextMarker
	}
	if !listed(out, k.current) {
		out = append(out, provider.KeyVersion{Version: k.current, State: provider.KeyEnabled})
	}
	return out, nil
}

// version answers false for what has not become one: material that waits for a rotation.
func version(r types.RotationsListEntry, k *keyInfo) (provider.KeyVersion, bool) {
	v := provider.KeyVersion{Version: aws.ToString(r.KeyMaterialId), State: provider.KeyEnabled, Created: aws.ToTime(r.RotationDate).UTC()}
	if r.ImportState == types.ImportStatePendingImport { // it was deleted or has expired
		v.State = provider.KeyDisabled
	}
	if r.RotationDate == nil {
		v.Created = k.created.UTC()
	}
	waits := r.KeyMaterialState == types.KeyMaterialStatePendingRotation ||
		r.KeyMaterialState == types.KeyMaterialStatePendingMultiRegionImportAndRotation
	return v, v.Version != "" && !waits
}

func listed(versions []provider.KeyVersion, version string) bool {
	return slices.ContainsFunc(versions, func(v provider.KeyVersion) bool { return v.Version == version })
}
