package awskms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyrotor/keyrotor/core/provider"
)

// rotationPatience is how long a rotation that AWS accepted is believed to be under way
// while the key shows nothing of it. AWS speaks of minutes at most.
const rotationPatience = time.Hour

// begun is a rotation that AWS has accepted.
type begun struct {
	from, request string
	at            time.Time
}

// RotateKey asks for new key material if the current one is the expected one.
//
// AWS has no compare-and-set and rotates in the background: it answers with the key's id
// alone, so the rotation is pending, and DescribeKey shows when it is done. A key has 25
// rotations in its life, so none is asked for while one is under way: that is looked up
// first, and of callers of one instance only the first asks. Two processes that look at
// the same moment may both ask.
//
// A request whose answer is lost is not sent again. The key tells whether it took effect.
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
	k, err := m.read(ctx)
	if err != nil {
		return none, err
	}
	if err := rotatable(k, req.ExpectedVersion); err != nil {
		return none, err
	}
	pending := provider.RotateKeyResponse{OldVersion: k.current, Pending: true}
	if m.begun.from == k.current && m.now().Sub(m.begun.at) < rotationPatience {
		if m.begun.request == req.RequestID {
			return pending, nil
		}
		return none, provider.Errorf(provider.VersionChanged, "a rotation from key material %s is under way already", k.current)
	}
	underWay, err := m.rotationUnderWay(ctx, k.arn)
	if err != nil {
		return none, err
	}
	if underWay { // somebody else's, or ours of which the answer was lost: it is the same one
		return pending, nil
	}
	_, err = ask(ctx, m, "RotateKeyOnDemand", &kms.RotateKeyOnDemandInput{KeyId: &k.arn}, (*kms.Client).RotateKeyOnDemand)
	switch {
	case err == nil:
		m.begun = begun{from: k.current, request: req.RequestID, at: m.now()}
		return pending, nil
	case provider.Transient(err) && !errors.Is(err, provider.Throttled): // what is throttled was not begun
		return m.settleRotation(ctx, k, err)
	default:
		return none, err
	}
}

// rotatable refuses what AWS would refuse, with words that say what to do.
func rotatable(k *keyInfo, expected string) error {
	switch {
	case k.current == "":
		return provider.Errorf(provider.Unsupported, "AWS names no key material of %s, as of keys in a custom key store, and rotates no such key: make another key and run `keyrotor key migrate`", k.arn)
	case expected != k.current:
		return provider.Errorf(provider.VersionChanged, "the KEK's current key material is %s, not %q as expected", k.current, expected)
	case k.primary != "":
		return provider.Errorf(provider.Unsupported, "%s is a replica of a multi-Region key: rotate its primary, %s, and the replicas follow; "+
			"then run `keyrotor kek rewrap NAME`", k.arn, k.primary)
	default:
		return nil
	}
}

// rotationUnderWay looks for a rotation on demand that has begun and is not done.
func (m *manager) rotationUnderWay(ctx context.Context, arn string) (bool, error) {
	out, err := ask(ctx, m, "GetKeyRotationStatus", &kms.GetKeyRotationStatusInput{KeyId: &arn}, (*kms.Client).GetKeyRotationStatus)
	if err != nil {
		return false, err
	}
	return out.OnDemandRotationStartDate != nil, nil
}

// settleRotation finds out whether a rotation took effect whose answer did not come.
func (m *manager) settleRotation(ctx context.Context, before *keyInfo, lost error) (provider.RotateKeyResponse, error) {
	if now, err := m.read(ctx); err == nil && now.current != before.current && now.current != "" {
		return provider.RotateKeyResponse{OldVersion: before.current, NewVersion: now.current}, nil
	}
	if underWay, err := m.rotationUnderWay(ctx, before.arn); err == nil && underWay {
		return provider.RotateKeyResponse{OldVersion: before.current, Pending: true}, nil
	}
	return provider.RotateKeyResponse{}, lost
}

// CreateKey makes a symmetric encryption key and points the alias of the block to it. A
// key without an alias has an id that AWS chooses, so there is nothing to make by such a
// name.
//
// AWS has no way to make both at once. If the second step fails, the error names the key
// that is there without a name.
func (m *manager) CreateKey(ctx context.Context, req provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	none := provider.CreateKeyResponse{}
	if err := m.alive(ctx); err != nil {
		return none, err
	}
	_, err := m.read(ctx)
	switch {
	case err == nil:
		return none, provider.Errorf(provider.AlreadyExists, "AWS has a key %s already; it is left as it is", m.key.text)
	case !errors.Is(err, provider.NotFoundKey):
		return none, err
	case !m.key.alias:
		return none, configError(attrKeyID, "AWS has no key %s, and chooses the ids of new keys itself: set an alias, such as alias/payments-kek", m.key.text)
	}
	note := fmt.Sprintf("Key-encryption key of Keyrotor (%s)", req.RequestID)
	made, err := ask(ctx, m, "CreateKey", &kms.CreateKeyInput{Description: &note}, (*kms.Client).CreateKey)
	if provider.Transient(err) && !errors.Is(err, provider.Throttled) {
		return none, provider.Errorf(provider.CodeOf(err), "%w; if AWS made the key all the same, it has no alias and the description %q: "+
			"point the alias to it, or schedule its deletion", err, note)
	}
	if err != nil {
		return none, err
	}
	k := made.KeyMetadata
	if k == nil || k.Arn == nil {
		return none, provider.BrokenPromise(provider.Internal, "AWS answers the key that it made", "it answered none")
	}
	if err := m.pointAlias(ctx, k); err != nil {
		return none, provider.Errorf(provider.CodeOf(err), "%w; the key %s was made and has no alias: point %s to it with "+
			"`aws kms create-alias`, or schedule its deletion", err, *k.Arn, m.key.text)
	}
	m.pinned.Store(k.Arn)
	return provider.CreateKeyResponse{KEKID: *k.Arn, Version: aws.ToString(k.CurrentKeyMaterialId)}, nil
}

func (m *manager) pointAlias(ctx context.Context, k *types.KeyMetadata) error {
	name := m.key.text
	if i := strings.Index(name, ":alias/"); i >= 0 {
		name = name[i+1:]
	}
	_, err := ask(ctx, m, "CreateAlias", &kms.CreateAliasInput{AliasName: &name, TargetKeyId: k.KeyId}, (*kms.Client).CreateAlias)
	if !provider.Transient(err) {
		return err
	}
	out, lookErr := ask(ctx, m, "DescribeKey", &kms.DescribeKeyInput{KeyId: &m.key.text}, (*kms.Client).DescribeKey)
	if lookErr == nil && out.KeyMetadata != nil && aws.ToString(out.KeyMetadata.Arn) == *k.Arn {
		return nil // the answer was lost, and nothing else
	}
	return err
}
