package awskms

import (
	"context"
	"crypto/rand"
	"encoding/base64"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrotor/keyrotor/core/provider"
)

// The encryption context of every wrap is one pair. Its form is final: a wrap opens with
// the same pair only.
const (
	contextKey     = "keyrotor"
	contextVersion = "1."
)

// encryptionContext carries the AAD. AWS takes text and shows it in CloudTrail, so the
// bytes are encoded without loss; the version in front keeps the value of an empty AAD
// from being empty. One pair under a key of our own is what a key policy can demand
// (kms:EncryptionContextKeys) without knowing any value.
func encryptionContext(aad []byte) map[string]string {
	return map[string]string{contextKey: contextVersion + base64.RawURLEncoding.EncodeToString(aad)}
}

// GenerateDataKey has AWS draw a root.
func (m *manager) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	none := provider.GenerateDataKeyResponse{}
	arn, err := m.ready(ctx)
	if err != nil {
		return none, err
	}
	out, err := ask(ctx, m, "GenerateDataKey", &kms.GenerateDataKeyInput{
		KeyId: &arn, NumberOfBytes: aws.Int32(provider.RootSize), EncryptionContext: encryptionContext(req.AAD),
	}, (*kms.Client).GenerateDataKey)
	if err != nil {
		return none, err
	}
	root := provider.NewSecret(out.Plaintext)
	w, err := wrapped("GenerateDataKey", arn, out.KeyId, out.KeyMaterialId, out.CiphertextBlob)
	if err == nil && root.Len() != provider.RootSize {
		err = provider.BrokenPromise(provider.Integrity, "AWS draws as many bytes as it was asked for", "it drew %d", root.Len())
	}
	if err != nil {
		root.Wipe()
		return none, err
	}
	return provider.GenerateDataKeyResponse{Wrapped: w, Plaintext: root}, nil
}

// wrapped is what AWS answered as ciphertext.
func wrapped(op, arn string, answered, material *string, blob []byte) (provider.Wrapped, error) {
	switch {
	case aws.ToString(answered) != arn:
		return provider.Wrapped{}, otherKey(op, arn, answered)
	case len(blob) == 0:
		return provider.Wrapped{}, provider.BrokenPromise(provider.Internal, "AWS answers a ciphertext to "+op, "it is empty")
	default:
		return provider.Wrapped{KEKID: arn, KEKVersion: aws.ToString(material), Blob: blob}, nil
	}
}

func otherKey(op, arn string, answered *string) error {
	return provider.BrokenPromise(provider.Integrity, "AWS uses the key that it was asked to",
		"to %s with %q it answered %q", op, arn, tidy(aws.ToString(answered)))
}

// Wrap encrypts roots under the current key material, which AWS does not name.
func (m *manager) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	arn, err := m.ready(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]provider.WrapResult, len(items))
	err = m.each(ctx, len(items), func(ctx context.Context, i int) error {
		results[i].Wrapped, results[i].Err = m.wrap(ctx, arn, items[i])
		return results[i].Err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (m *manager) wrap(ctx context.Context, arn string, item provider.WrapItem) (provider.Wrapped, error) {
	if n := item.Plaintext.Len(); n != provider.RootSize {
		return provider.Wrapped{}, provider.Errorf(provider.InvalidArgument, "a root has %d bytes, this one has %d", provider.RootSize, n)
	}
	out, err := ask(ctx, m, "Encrypt", &kms.EncryptInput{
		KeyId: &arn, Plaintext: item.Plaintext.Reveal(), EncryptionContext: encryptionContext(item.AAD),
	}, (*kms.Client).Encrypt)
	if err != nil {
		return provider.Wrapped{}, err
	}
	return wrapped("Encrypt", arn, out.KeyId, nil, out.CiphertextBlob)
}

// Unwrap opens wraps by any key material that the key ever had.
func (m *manager) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	arn, err := m.ready(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]provider.UnwrapResult, len(items))
	err = m.each(ctx, len(items), func(ctx context.Context, i int) error {
		results[i] = m.unwrap(ctx, arn, items[i])
		return results[i].Err
	})
	if err != nil {
		for i := range results {
			results[i].Plaintext.Wipe()
		}
		return nil, err
	}
	return results, nil
}

func (m *manager) unwrap(ctx context.Context, arn string, item provider.UnwrapItem) provider.UnwrapResult {
	if err := checkItem(arn, item.Wrapped); err != nil {
		return provider.UnwrapResult{Err: err}
	}
	out, err := ask(ctx, m, "Decrypt", &kms.DecryptInput{
		KeyId: &arn, CiphertextBlob: item.Wrapped.Blob, EncryptionContext: encryptionContext(item.AAD),
	}, (*kms.Client).Decrypt)
	if err != nil {
		return provider.UnwrapResult{Err: err}
	}
	root := provider.NewSecret(out.Plaintext)
	switch {
	case aws.ToString(out.KeyId) != arn:
		err = otherKey("Decrypt", arn, out.KeyId)
	case root.Len() != provider.RootSize:
		err = provider.Errorf(provider.Integrity, "the wrap opens to %d bytes, which is no root", root.Len())
	default:
		err = m.checkVersion(ctx, item.Wrapped.KEKVersion, aws.ToString(out.KeyMaterialId))
	}
	if err != nil {
		root.Wipe()
		return provider.UnwrapResult{Err: err}
	}
	return provider.UnwrapResult{Plaintext: root, KEKID: item.Wrapped.KEKID, KEKVersion: aws.ToString(out.KeyMaterialId)}
}

// checkItem checks what can be checked here.
func checkItem(arn string, w provider.Wrapped) error {
	switch {
	case !sameKey(w.KEKID, arn):
		return provider.Errorf(provider.NotFoundKey, "the wrap belongs to KEK %q, and this is %q", w.KEKID, arn)
	case len(w.Blob) == 0:
		return provider.Errorf(provider.InvalidArgument, "the wrap is empty")
	default:
		return nil
	}
}

// checkVersion compares the key material on record with the one that opened the wrap.
func (m *manager) checkVersion(ctx context.Context, recorded, opened string) error {
	if recorded == "" || opened == "" || recorded == opened {
		return nil
	}
	d, err := m.DescribeKey(ctx)
	switch {
	case err != nil:
		return err
	case !listed(d.Versions, recorded):
		return provider.Errorf(provider.NotFoundVersion, "the KEK has no key material %q", recorded)
	default:
		return provider.Errorf(provider.Integrity, "the wrap is recorded under key material %s, and %s opened it", recorded, opened)
	}
}

// Rewrap has AWS move wraps to the current key material; no root comes here.
func (m *manager) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	arn, err := m.ready(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]provider.WrapResult, len(items))
	err = m.each(ctx, len(items), func(ctx context.Context, i int) error {
		results[i].Wrapped, results[i].Err = m.rewrap(ctx, arn, items[i])
		return results[i].Err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (m *manager) rewrap(ctx context.Context, arn string, item provider.UnwrapItem) (provider.Wrapped, error) {
	if err := checkItem(arn, item.Wrapped); err != nil {
		return provider.Wrapped{}, err
	}
	bound := encryptionContext(item.AAD)
	out, err := ask(ctx, m, "ReEncrypt", &kms.ReEncryptInput{
		SourceKeyId: &arn, DestinationKeyId: &arn, CiphertextBlob: item.Wrapped.Blob,
		SourceEncryptionContext: bound, DestinationEncryptionContext: bound,
	}, (*kms.Client).ReEncrypt)
	if err != nil {
		return provider.Wrapped{}, err
	}
	if aws.ToString(out.SourceKeyId) != arn {
		return provider.Wrapped{}, otherKey("ReEncrypt", arn, out.SourceKeyId)
	}
	if err := m.checkVersion(ctx, item.Wrapped.KEKVersion, aws.ToString(out.SourceKeyMaterialId)); err != nil {
		return provider.Wrapped{}, err
	}
	return wrapped("ReEncrypt", arn, out.KeyId, out.DestinationKeyMaterialId, out.CiphertextBlob)
}

// checkWrap wraps a root and opens it.
func (m *manager) checkWrap(ctx context.Context) error {
	root, aad := make([]byte, provider.RootSize), []byte("check")
	_, _ = rand.Read(root) // never fails, says crypto/rand
	secret := provider.NewSecret(root)
	defer secret.Wipe()
	wraps, err := m.Wrap(ctx, []provider.WrapItem{{Plaintext: secret, AAD: aad}})
	if err != nil {
		return err
	}
	if wraps[0].Err != nil {
		return wraps[0].Err
	}
	back, err := m.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: wraps[0].Wrapped, AAD: aad}})
	if err != nil {
		return err
	}
	defer back[0].Plaintext.Wipe()
	switch {
	case back[0].Err != nil:
		return back[0].Err
	case !back[0].Plaintext.Equal(secret):
		return provider.Errorf(provider.Integrity, "a root came back from its wrap as another one")
	default:
		return nil
	}
}
