package gcpkms

import (
	"context"
	"crypto/rand"
	"errors"
	"hash/crc32"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyrotor/keyrotor/core/provider"
)

// maxBound is what an HSM encrypts at most, root and AAD together. Keys of other levels
// take more, but then a wrap could not move to an HSM.
const maxBound = 8 << 10

// atOnce is how many items of a call are worked on at a time: Cloud KMS takes one a
// request, and a batch of the host's must end within the time that it gives.
const atOnce = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, castagnoli)))
}

// checked compares what came with the checksum that came with it; without one it did not
// come as it was sent.
func checked(data []byte, sum *wrapperspb.Int64Value) bool {
	return sum != nil && sum.GetValue() == checksum(data).GetValue()
}

// GenerateDataKey draws a root here, since Cloud KMS has no such call, and wraps it.
func (m *manager) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	if err := m.alive(ctx); err != nil {
		return provider.GenerateDataKeyResponse{}, err
	}
	root := newRoot()
	w, err := m.encrypt(ctx, m.key.String(), root.Reveal(), req.AAD)
	if err != nil {
		root.Wipe()
		return provider.GenerateDataKeyResponse{}, err
	}
	return provider.GenerateDataKeyResponse{Wrapped: w, Plaintext: root}, nil
}

func newRoot() provider.Secret {
	root := make([]byte, provider.RootSize)
	_, _ = rand.Read(root) // never fails, says crypto/rand
	return provider.NewSecret(root)
}

// Wrap encrypts roots under the primary. For a while after a rotation that may still be
// the version before: the wrap has the one that Cloud KMS says it used.
func (m *manager) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	if err := m.alive(ctx); err != nil {
		return nil, err
	}
	results := make([]provider.WrapResult, len(items))
	err := forEach(ctx, len(items), func(ctx context.Context, i int) (err error) {
		if n := items[i].Plaintext.Len(); n != provider.RootSize {
			results[i].Err = provider.Errorf(provider.InvalidArgument, "a root has %d bytes, this one has %d", provider.RootSize, n)
			return nil
		}
		results[i].Wrapped, err = m.encrypt(ctx, m.key.String(), items[i].Plaintext.Reveal(), items[i].AAD)
		results[i].Err, err = aboutItem(err)
		return err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Unwrap opens wraps of any enabled version.
func (m *manager) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	if err := m.alive(ctx); err != nil {
		return nil, err
	}
	results := make([]provider.UnwrapResult, len(items))
	err := forEach(ctx, len(items), func(ctx context.Context, i int) (err error) {
		version, ciphertext, own := m.open(ctx, items[i].Wrapped)
		if own != nil {
			results[i].Err, err = aboutItem(own)
			return err
		}
		root, err := m.decrypt(ctx, ciphertext, items[i].AAD)
		if results[i].Err, err = aboutItem(err); results[i].Err == nil {
			results[i].Plaintext, results[i].KEKID, results[i].KEKVersion = root, m.key.String(), version
		}
		return err
	})
	if err != nil {
		for i := range results {
			results[i].Plaintext.Wipe()
		}
		return nil, err
	}
	return results, nil
}

// Rewrap opens wraps and closes them under the primary. It names that version to Cloud KMS,
// which without it might go on for hours with the one before.
func (m *manager) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	if err := m.alive(ctx); err != nil {
		return nil, err
	}
	k, err := m.readKey(ctx)
	if err != nil {
		return nil, err
	}
	if k.primary == "" {
		return nil, provider.Errorf(provider.InvalidState, "%s has no primary version: make one with `keyrotor kek rotate NAME`", m.key)
	}
	results := make([]provider.WrapResult, len(items))
	err = forEach(ctx, len(items), func(ctx context.Context, i int) (err error) {
		results[i].Wrapped, err = m.rewrap(ctx, m.key.version(k.primary), items[i])
		results[i].Err, err = aboutItem(err)
		return err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (m *manager) rewrap(ctx context.Context, to string, item provider.UnwrapItem) (provider.Wrapped, error) {
	_, ciphertext, err := m.open(ctx, item.Wrapped)
	if err != nil {
		return provider.Wrapped{}, err
	}
	root, err := m.decrypt(ctx, ciphertext, item.AAD)
	if err != nil {
		return provider.Wrapped{}, err
	}
	defer root.Wipe()
	return m.encrypt(ctx, to, root.Reveal(), item.AAD)
}

// forEach works on the items of a call, until one fails with an error of the whole call.
func forEach(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return provider.Errorf(provider.Unavailable, "%w", err)
			}
			return do(ctx, i)
		})
	}
	return g.Wait() //nolint:wrapcheck // of the contract's kind already
}

// aboutItem tells an error of one item from one that all would meet. A local check says
// NotFoundKey of a wrap of another key, and marks that as the item's by foreign.
func aboutItem(err error) (item, whole error) {
	switch provider.CodeOf(err) {
	case "", provider.Integrity, provider.InvalidState, provider.InvalidArgument, provider.NotFoundVersion, provider.LimitExceeded, provider.Internal:
		return err, nil
	default:
		if errors.Is(err, errForeign) {
			return err, nil
		}
		return nil, err
	}
}

// errForeign is the cause of an error about a wrap of another key.
var errForeign = errors.New("a wrap of another KEK")

// open checks what can be checked here, and answers what is in a wrap.
func (m *manager) open(ctx context.Context, w provider.Wrapped) (version string, ciphertext []byte, err error) {
	if w.KEKID != m.key.String() {
		return "", nil, provider.Errorf(provider.NotFoundKey, "%w: it belongs to %q, and this is %q", errForeign, w.KEKID, m.key)
	}
	if len(w.Blob) == 0 {
		return "", nil, provider.Errorf(provider.InvalidArgument, "the wrap is empty")
	}
	if version, ciphertext, err = parseBlob(w.Blob); err != nil {
		return "", nil, err
	}
	if w.KEKVersion == "" || w.KEKVersion == version {
		return version, ciphertext, nil
	}
	if !isVersion(w.KEKVersion) {
		return "", nil, m.noVersion(w.KEKVersion)
	}
	if _, err := m.readVersion(ctx, w.KEKVersion); err != nil {
		return "", nil, err
	}
	return "", nil, provider.Errorf(provider.Integrity, "the wrap is recorded under KEK version %s and names %s itself", w.KEKVersion, version)
}

// encrypt wraps a root under a key or a version.
func (m *manager) encrypt(ctx context.Context, name string, root, aad []byte) (provider.Wrapped, error) {
	none := provider.Wrapped{}
	if len(root)+len(aad) > maxBound {
		return none, provider.Errorf(provider.InvalidArgument, "an AAD of %d bytes is too long: with the root it may have %d", len(aad), maxBound)
	}
	req := &kmspb.EncryptRequest{
		Name: name, Plaintext: root, PlaintextCrc32C: checksum(root),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: checksum(aad),
	}
	res, err := call(ctx, m, methodEncrypt, name, func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.EncryptResponse, error) {
		return c.Encrypt(ctx, req)
	})
	if err != nil {
		return none, err
	}
	switch {
	case !res.GetVerifiedPlaintextCrc32C():
		return none, lostChecksum("the root")
	case !res.GetVerifiedAdditionalAuthenticatedDataCrc32C():
		return none, lostChecksum("the AAD")
	case len(res.GetCiphertext()) == 0 || !checked(res.GetCiphertext(), res.GetCiphertextCrc32C()):
		return none, badChecksum("the wrap")
	}
	version, err := m.versionOf(res.GetName())
	if err != nil {
		return none, err
	}
	if name != m.key.String() && name != res.GetName() {
		return none, m.otherKey(res.GetName())
	}
	return provider.Wrapped{KEKID: m.key.String(), KEKVersion: version, Blob: newBlob(version, res.GetCiphertext())}, nil
}

// decrypt opens what encrypt made.
func (m *manager) decrypt(ctx context.Context, ciphertext, aad []byte) (provider.Secret, error) {
	req := &kmspb.DecryptRequest{
		Name: m.key.String(), Ciphertext: ciphertext, CiphertextCrc32C: checksum(ciphertext),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: checksum(aad),
	}
	res, err := call(ctx, m, methodDecrypt, m.key.String(), func(ctx context.Context, c *kms.KeyManagementClient) (*kmspb.DecryptResponse, error) {
		return c.Decrypt(ctx, req)
	})
	if err != nil {
		return provider.Secret{}, err
	}
	root := provider.NewSecret(res.GetPlaintext())
	switch {
	case !checked(root.Reveal(), res.GetPlaintextCrc32C()):
		root.Wipe()
		return provider.Secret{}, badChecksum("the root")
	case root.Len() != provider.RootSize:
		defer root.Wipe()
		return provider.Secret{}, provider.Errorf(provider.Integrity, "the wrap opens to %d bytes, which is no root", root.Len())
	default:
		return root, nil
	}
}

func lostChecksum(what string) error {
	return provider.Errorf(provider.Integrity, "Cloud KMS does not say that it checked %s against its CRC32C, so it may have got another: try again", what)
}

func badChecksum(what string) error {
	return provider.Errorf(provider.Integrity, "%s that Cloud KMS answered does not match its CRC32C: try again; if it happens again, something on the way alters it", what)
}

// checkWrap wraps a root and opens it.
func (m *manager) checkWrap(ctx context.Context) error {
	root, aad := newRoot(), []byte("check")
	defer root.Wipe()
	w, err := m.encrypt(ctx, m.key.String(), root.Reveal(), aad)
	if err != nil {
		return err
	}
	_, ciphertext, err := parseBlob(w.Blob)
	if err != nil {
		return err
	}
	back, err := m.decrypt(ctx, ciphertext, aad)
	if err != nil {
		return err
	}
	defer back.Wipe()
	if !back.Equal(root) {
		return provider.Errorf(provider.Integrity, "a root came back from its wrap as another one")
	}
	return nil
}
