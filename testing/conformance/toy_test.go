package conformance

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// toyKMS is the key manager that the suite is tested with: correct, with every
// capability, and simple enough to see that at a glance. A key is a file; whoever
// makes it sets the token that opens it. One mutex stands for the key manager's own
// order of things.
type toyKMS struct {
	mu sync.Mutex
	// memory holds the keys of a key manager that ends with its process; nil if they
	// are on disk.
	memory map[string]*toyKey
}

func toyInfo() provider.Info {
	return provider.Info{Name: "toy", Version: "1.0.0", ProtocolMinor: provider.ProtocolMinor, Capabilities: provider.Capabilities{
		provider.CanRotateKey, provider.CanMirror, provider.CanCreateKey, provider.CanSetVersionState, provider.CanBatch,
	}}
}

func toySchema() provider.Schema {
	return provider.Schema{
		Attributes: []provider.Attribute{
			{Name: "path", Type: provider.Path, Required: true, Doc: "The key's file."},
			{Name: "fault", Type: provider.String, Doc: "What the plugin does wrong."},
		},
		Blocks: []provider.BlockSchema{{Type: "auth", Required: true, Body: provider.Schema{
			Attributes: []provider.Attribute{{Name: "token", Type: provider.String, Sensitive: true, Doc: "Opens the file."}},
		}}},
	}
}

func (kms *toyKMS) New(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
	auth, ok := cfg.Body.Block("auth")
	switch {
	case cfg.Body.String("path") == "":
		return nil, &provider.Error{Code: provider.InvalidConfig, Attribute: "path", Message: "it is missing"}
	case !ok:
		return nil, &provider.Error{Code: provider.InvalidConfig, Attribute: "auth", Message: "it is missing"}
	}
	return &toy{kms: kms, path: cfg.Body.String("path"), token: sha256.Sum256(auth.Body.Secret("token").Reveal())}, nil
}

// toy is one instance.
type toy struct {
	kms   *toyKMS
	path  string
	token [sha256.Size]byte
}

// everything is what the toy implements.
type everything interface {
	provider.KeyManager
	provider.Mirror
	provider.KeyCreator
	provider.VersionStateSetter
}

var _ everything = (*toy)(nil)

func (t *toy) Check(ctx context.Context, _ provider.CheckRequest) (provider.CheckResponse, error) {
	_, err := t.read(ctx)
	return provider.CheckResponse{Identity: "somebody"}, err
}

func (t *toy) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	key, err := t.read(ctx)
	if err != nil {
		return provider.DescribeKeyResponse{}, err
	}
	return provider.DescribeKeyResponse{
		KEKID: key.ID, State: provider.KeyEnabled, Algorithm: "AES-256-GCM",
		PrimaryVersion: key.primary().Version, Versions: key.described(),
	}, nil
}

func (t *toy) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	key, err := t.read(ctx)
	if err != nil {
		return provider.GenerateDataKeyResponse{}, err
	}
	root := provider.NewSecret(newRoot())
	return provider.GenerateDataKeyResponse{Plaintext: root, Wrapped: key.wrap(root, req.AAD)}, nil
}

func (t *toy) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	key, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]provider.WrapResult, len(items))
	for i, item := range items {
		if item.Plaintext.Len() != provider.RootSize {
			results[i].Err = provider.Errorf(provider.InvalidArgument, "a root has %d bytes", provider.RootSize)
			continue
		}
		results[i].Wrapped = key.wrap(item.Plaintext, item.AAD)
	}
	return results, nil
}

func (t *toy) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	key, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]provider.UnwrapResult, len(items))
	for i, item := range items {
		results[i] = key.unwrap(item)
	}
	return results, nil
}

func (t *toy) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	key, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]provider.WrapResult, len(items))
	for i, item := range items {
		plain := key.unwrap(item)
		if results[i].Err = plain.Err; plain.Err == nil {
			results[i].Wrapped = key.wrap(plain.Plaintext, item.AAD)
			plain.Plaintext.Wipe()
		}
	}
	return results, nil
}

func (t *toy) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (res provider.RotateKeyResponse, err error) {
	err = t.change(ctx, func(key *toyKey) error {
		old := key.primary().Version
		if req.ExpectedVersion != old {
			return provider.Errorf(provider.VersionChanged, "the primary is %q, not %q", old, req.ExpectedVersion)
		}
		key.addVersion()
		res = provider.RotateKeyResponse{OldVersion: old, NewVersion: key.primary().Version}
		return nil
	})
	return res, err
}

func (t *toy) CreateKey(ctx context.Context, _ provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	t.kms.mu.Lock()
	defer t.kms.mu.Unlock()
	_, err := t.load(ctx)
	switch {
	case err == nil:
		return provider.CreateKeyResponse{}, provider.Errorf(provider.AlreadyExists, "the key exists")
	case !errors.Is(err, provider.NotFoundKey):
		return provider.CreateKeyResponse{}, err
	}
	key := &toyKey{ID: "toy/" + rand.Text(), Token: t.token[:], Mirrors: map[string]toyMirror{}}
	key.addVersion()
	return provider.CreateKeyResponse{KEKID: key.ID, Version: "1"}, t.save(key)
}

func (t *toy) SetVersionState(ctx context.Context, req provider.SetVersionStateRequest) error {
	return t.change(ctx, func(key *toyKey) error {
		v := key.version(req.Version)
		if v == nil {
			return provider.Errorf(provider.NotFoundVersion, "there is no version %q", req.Version)
		}
		v.State = req.State
		return nil
	})
}

func (t *toy) Close() error { return nil }

// toyKey is the content of the file.
type toyKey struct {
	ID       string
	Token    []byte
	Versions []toyVersion
	Mirrors  map[string]toyMirror
}

type toyVersion struct {
	provider.KeyVersion
	Key []byte
}

// primary is the newest version.
func (k *toyKey) primary() *toyVersion { return &k.Versions[len(k.Versions)-1] }

func (k *toyKey) version(name string) *toyVersion {
	i := slices.IndexFunc(k.Versions, func(v toyVersion) bool { return v.Version == name })
	if i < 0 {
		return nil
	}
	return &k.Versions[i]
}

func (k *toyKey) addVersion() {
	last := 0
	if len(k.Versions) > 0 {
		last, _ = strconv.Atoi(k.primary().Version)
	}
	k.Versions = append(k.Versions, toyVersion{provider.KeyVersion{
		Version: strconv.Itoa(last + 1), State: provider.KeyEnabled, Created: time.Now().UTC(),
	}, newRoot()})
}

func (k *toyKey) described() (out []provider.KeyVersion) {
	for _, v := range k.Versions {
		out = append(out, v.KeyVersion)
	}
	return out
}

// aead draws nonces by itself, as FIPS 140 mode demands.
func (v *toyVersion) aead() cipher.AEAD {
	block, err := aes.NewCipher(v.Key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (k *toyKey) wrap(root provider.Secret, aad []byte) provider.Wrapped {
	v := k.primary()
	return provider.Wrapped{KEKID: k.ID, KEKVersion: v.Version, Blob: v.aead().Seal(nil, nil, root.Reveal(), aad)}
}

// unwrap tries every version if the wrap names none.
func (k *toyKey) unwrap(item provider.UnwrapItem) provider.UnwrapResult {
	w := item.Wrapped
	switch {
	case w.KEKID != k.ID:
		return provider.UnwrapResult{Err: provider.Errorf(provider.NotFoundKey, "this is %q, not %q", k.ID, w.KEKID)}
	case len(w.Blob) == 0:
		return provider.UnwrapResult{Err: provider.Errorf(provider.InvalidArgument, "the wrap is empty")}
	case w.KEKVersion != "" && k.version(w.KEKVersion) == nil:
		return provider.UnwrapResult{Err: provider.Errorf(provider.NotFoundVersion, "there is no version %q", w.KEKVersion)}
	}
	for _, v := range k.Versions {
		if w.KEKVersion != "" && w.KEKVersion != v.Version {
			continue
		}
		if root, err := v.aead().Open(nil, nil, w.Blob, item.AAD); err == nil {
			return v.answer(k.ID, root)
		}
	}
	return provider.UnwrapResult{Err: provider.Errorf(provider.Integrity, "the wrap does not open")}
}

func (v *toyVersion) answer(id string, root []byte) provider.UnwrapResult {
	if v.State != provider.KeyEnabled {
		return provider.UnwrapResult{Err: provider.Errorf(provider.InvalidState, "version %q is %s", v.Version, v.State)}
	}
	return provider.UnwrapResult{Plaintext: provider.NewSecret(root), KEKID: id, KEKVersion: v.Version}
}
