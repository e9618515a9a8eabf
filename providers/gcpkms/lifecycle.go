package gcpkms

import (
	"context"
	"errors"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	// freshness is how long a version that is not the primary counts as one of a rotation
	// that was not finished. After it, it is somebody's on purpose, who may have made an
	// older one the primary again; and one version more costs little.
	freshness = 24 * time.Hour
	// generationPoll is how often it is asked whether a new version is ready.
	generationPoll = 250 * time.Millisecond
)

// RotateKey adds a version and makes it the primary, if the primary is the expected one.
// That takes two calls of Cloud KMS, neither of which can be made conditional or knows a
// request id. So what a rotation before this one left behind comes first: a version newer
// than the primary, made within a day, usable, is the one that becomes the primary, and no
// other is made. Wherever a rotation was cut off, running it again ends it.
//
// A call whose answer is lost is not made again. The key tells whether it took effect.
//
// Cloud KMS has no compare-and-set. Of two processes that see the same primary at the same
// moment each may make a version; one of them stays unused. One instance rotates once at a
// time.
func (m *manager) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	none := provider.RotateKeyResponse{}
	if err := m.alive(ctx); err != nil {
		return none, err
	}
	select {
	case <-m.rotating:
		defer func() { m.rotating <- struct{}{} }()
	case <-ctx.Done():
		return none, provider.Errorf(provider.Unavailable, "waiting for another rotation of the key: %w", ctx.Err())
	}
	k, err := m.readKey(ctx)
	if err != nil {
		return none, err
	}
	if req.ExpectedVersion != k.primary {
		return none, provider.Errorf(provider.VersionChanged, "the KEK's primary is version %q, not %q as expected", k.primary, req.ExpectedVersion)
	}
	next, err := m.nextVersion(ctx, k)
	if err != nil {
		return none, err
	}
	if next, err = m.generated(ctx, next); err != nil {
		return none, err
	}
	now, err := m.setPrimary(ctx, next.id)
	if err != nil {
		return none, err
	}
	if now.primary == k.primary {
		// The call was accepted, and what it did is not to be seen everywhere yet.
		return provider.RotateKeyResponse{OldVersion: k.primary, Pending: true}, nil
	}
	return provider.RotateKeyResponse{OldVersion: k.primary, NewVersion: now.primary}, nil
}

// nextVersion answers the version that is to be the primary: what an earlier rotation left
// behind, or a new one.
func (m *manager) nextVersion(ctx context.Context, k *keyInfo) (version, error) {
	before, err := m.readVersions(ctx)
	if err != nil {
		return version{}, err
	}
	if left, ok := m.leftBehind(k, before); ok {
		return left, nil
	}
	made, err := call(ctx, m, methodCreateVersion, m.key.String(), func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error) {
		return c.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{Parent: m.key.String(), CryptoKeyVersion: &kmspb.CryptoKeyVersion{}})
	})
	if err == nil {
		return m.newVersion(made)
	}
	if !provider.Transient(err) {
		return version{}, err
	}
	after, lookErr := m.readVersions(ctx)
	if lookErr != nil {
		return version{}, err
	}
	if left, ok := m.leftBehind(k, after); ok {
		return left, nil
	}
	return version{}, err
}

// leftBehind finds the newest version that a rotation made and did not make the primary.
func (m *manager) leftBehind(k *keyInfo, versions []version) (found version, ok bool) {
	newest := versionNumber(k.primary)
	for _, v := range versions {
		usable := v.state == kmspb.CryptoKeyVersion_ENABLED || v.state == kmspb.CryptoKeyVersion_PENDING_GENERATION
		own := !v.imported && v.algorithm == k.algorithm && v.level == k.level
		if n := versionNumber(v.id); n > newest && usable && own && m.now().Sub(v.made) < freshness {
			newest, found, ok = n, v, true
		}
	}
	return found, ok
}

// generated waits until a version can be used; in an HSM that takes a moment. Pending would
// be no answer if it takes too long: nobody else will make it the primary.
func (m *manager) generated(ctx context.Context, v version) (version, error) {
	tick := time.NewTicker(generationPoll)
	defer tick.Stop()
	for id := v.id; v.state == kmspb.CryptoKeyVersion_PENDING_GENERATION; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return v, provider.Errorf(provider.Unavailable, "version %s of %s is still being generated: rotate again, which goes on with it: %w", v.id, m.key, ctx.Err())
		}
		now, err := m.readVersion(ctx, id)
		if err != nil {
			return v, err
		}
		v = now
	}
	if v.state != kmspb.CryptoKeyVersion_ENABLED {
		return v, provider.Errorf(provider.InvalidState, "the new version %s of %s cannot be used, it is %s", v.id, m.key, v.state)
	}
	return v, nil
}

// setPrimary makes a version the primary, and reads the key again.
func (m *manager) setPrimary(ctx context.Context, id string) (*keyInfo, error) {
	_, lost := call(ctx, m, methodSetPrimary, m.key.String(), func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKey, error) {
		return c.UpdateCryptoKeyPrimaryVersion(ctx, &kmspb.UpdateCryptoKeyPrimaryVersionRequest{Name: m.key.String(), CryptoKeyVersionId: id})
	})
	if lost != nil && !provider.Transient(lost) {
		return nil, lost
	}
	now, err := m.readKey(ctx)
	switch {
	case lost == nil && err != nil:
		return nil, provider.Errorf(provider.Unavailable, "version %s of %s was made the primary, and what came of it cannot be read: %w", id, m.key, err)
	case lost != nil && (err != nil || now.primary != id):
		return nil, lost
	default:
		return now, nil
	}
}

// CreateKey makes a software key without a rotation schedule, for Keyrotor rotates it. The
// key ring must exist.
func (m *manager) CreateKey(ctx context.Context, _ provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	none := provider.CreateKeyResponse{}
	if err := m.alive(ctx); err != nil {
		return none, err
	}
	exists := provider.Errorf(provider.AlreadyExists, "%s exists already; it is left as it is", m.key)
	switch _, err := m.readKey(ctx); {
	case err == nil:
		return none, exists
	case !errors.Is(err, provider.NotFoundKey):
		return none, err
	}
	req := &kmspb.CreateCryptoKeyRequest{
		Parent: m.key.keyRing(), CryptoKeyId: m.key.id,
		CryptoKey: &kmspb.CryptoKey{
			Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{
				ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE,
				Algorithm:       kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION,
			},
		},
	}
	made, err := call(ctx, m, methodCreateKey, m.key.keyRing(), func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKey, error) {
		return c.CreateCryptoKey(ctx, req)
	})
	var k *keyInfo
	switch {
	case err == nil:
		k, err = m.keyInfo(made)
	case provider.Transient(err): // the key tells what came of it
		var lookErr error
		if k, lookErr = m.readKey(ctx); lookErr == nil {
			err = nil
		}
	case errors.Is(err, provider.AlreadyExists):
		return none, exists
	}
	if err != nil {
		return none, err
	}
	return provider.CreateKeyResponse{KEKID: m.key.String(), Version: k.primary}, nil
}

// SetVersionState enables, disables or destroys a version that is not the primary. What is
// destroyed can be brought back by enabling or disabling it as long as Cloud KMS waits, 30
// days unless the key says otherwise. A change whose answer is lost is not made again; the
// version tells.
func (m *manager) SetVersionState(ctx context.Context, req provider.SetVersionStateRequest) error {
	if err := m.alive(ctx); err != nil {
		return err
	}
	switch req.State {
	case provider.KeyEnabled, provider.KeyDisabled, provider.KeyDestroyed:
	default:
		return provider.Errorf(provider.InvalidArgument, "a version becomes enabled, disabled or destroyed, not %q", req.State)
	}
	if !isVersion(req.Version) {
		return m.noVersion(req.Version)
	}
	v, err := m.readVersion(ctx, req.Version)
	if err != nil || reached(v, req.State) {
		return err
	}
	if req.State != provider.KeyEnabled {
		k, err := m.readKey(ctx)
		if err != nil {
			return err
		}
		if k.primary == v.id {
			return provider.Errorf(provider.InvalidState, "KEK version %s is the primary: rotate the KEK first", v.id)
		}
	}
	if keyState(v.state) == provider.KeyDestroyed {
		return provider.Errorf(provider.InvalidState, "KEK version %s has no key any more, it is %s", v.id, v.state)
	}
	if req.State == provider.KeyDestroyed {
		return m.change(ctx, methodDestroyVersion, v.id, req.State, func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error) {
			return c.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: m.key.version(v.id)})
		})
	}
	if v.state == kmspb.CryptoKeyVersion_DESTROY_SCHEDULED {
		err := m.change(ctx, methodRestoreVersion, v.id, provider.KeyDisabled, func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error) {
			return c.RestoreCryptoKeyVersion(ctx, &kmspb.RestoreCryptoKeyVersionRequest{Name: m.key.version(v.id)})
		})
		if err != nil || req.State == provider.KeyDisabled {
			return err
		}
	}
	want := &kmspb.CryptoKeyVersion{Name: m.key.version(v.id), State: kmspb.CryptoKeyVersion_DISABLED}
	if req.State == provider.KeyEnabled {
		want.State = kmspb.CryptoKeyVersion_ENABLED
	}
	return m.change(ctx, methodUpdateVersion, v.id, req.State, func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error) {
		return c.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
			CryptoKeyVersion: want, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
	})
}

// change makes one change of a version.
func (m *manager) change(ctx context.Context, what method, id string, want provider.KeyState,
	do func(context.Context, *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error),
) error {
	_, err := call(ctx, m, what, m.key.version(id), do)
	if provider.Transient(err) {
		if now, lookErr := m.readVersion(ctx, id); lookErr == nil && reached(now, want) {
			return nil
		}
	}
	return err
}

// reached reports whether a version is in a state, or on its way there for certain.
func reached(v version, want provider.KeyState) bool {
	switch want {
	case provider.KeyEnabled:
		return v.state == kmspb.CryptoKeyVersion_ENABLED
	case provider.KeyDisabled:
		return v.state == kmspb.CryptoKeyVersion_DISABLED
	default:
		s := keyState(v.state)
		return s == provider.KeyDestroyed || s == provider.KeyPendingDestruction
	}
}

// noVersion is the error for a version that the key does not have.
func (m *manager) noVersion(v string) error {
	return provider.Errorf(provider.NotFoundVersion, "%s has no version %q", m.key, v)
}
