package local

import (
	"context"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// manager is one instance. One mutex covers every use of the keys: a reload wipes
// the old ones, which must not happen while a call encrypts with them.
type manager struct {
	file  kekFile
	pass  passphrase
	costs costs
	now   func() time.Time

	mu     sync.Mutex
	opened *opened // nil until the first use, and after a change
	// sealer outlives opened: a rotation keeps the file's salt, so deriving the
	// keys again, which is slow on purpose, would give the same.
	sealer *sealer
	closed bool
}

// opened is the file as last read, with its keys in the clear.
type opened struct {
	*content
	info   fs.FileInfo
	sealer *sealer // nil for an unsealed file; belongs to the manager
	keys   map[uint32]provider.Secret
}

var (
	_ provider.KeyManager         = (*manager)(nil)
	_ provider.KeyCreator         = (*manager)(nil)
	_ provider.VersionStateSetter = (*manager)(nil)
)

func newManager(path string, pass passphrase) *manager {
	return &manager{file: newKEKFile(path), pass: pass, costs: defaultCosts(), now: time.Now}
}

// use runs fn on the current state of the file.
func (m *manager) use(ctx context.Context, fn func(*opened) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive(ctx); err != nil {
		return err
	}
	o, err := m.current()
	if err != nil {
		return err
	}
	return fn(o)
}

// alive needs m.mu. A call that meets a closed instance was overtaken by a new
// configuration: the host replays that and tries again.
func (m *manager) alive(ctx context.Context) error {
	if m.closed {
		return provider.Errorf(provider.NotFoundInstance, "the instance for %s is closed", m.file.path)
	}
	if err := ctx.Err(); err != nil {
		return provider.Errorf(provider.Unavailable, "%w", err)
	}
	return nil
}

// current needs m.mu.
func (m *manager) current() (*opened, error) {
	if m.opened != nil && m.file.unchanged(m.opened.info) {
		return m.opened, nil
	}
	m.forget()
	o, err := m.open()
	if err != nil {
		return nil, err
	}
	m.opened = o
	return o, nil
}

// forget needs m.mu.
func (m *manager) forget() {
	if m.opened != nil {
		m.opened.wipe()
		m.opened = nil
	}
}

// open needs m.mu, for the sealer.
func (m *manager) open() (*opened, error) {
	data, info, err := m.file.read()
	if err != nil {
		return nil, err
	}
	defer clear(data)
	c, canonical, mac, err := decode(data)
	if err != nil {
		return nil, err
	}
	defer clear(canonical)
	if err := m.checkSeal(c); err != nil {
		c.wipe()
		return nil, err
	}
	o := &opened{content: c, info: info, keys: make(map[uint32]provider.Secret, len(c.KEKs))}
	if c.Seal == nil {
		for i := range c.KEKs {
			o.keys[c.KEKs[i].Version] = provider.NewSecret(c.KEKs[i].Key)
		}
		return o, nil
	}
	if o.sealer, err = m.unseal(c, canonical, mac); err != nil {
		return nil, err
	}
	if err := o.unsealKeys(); err != nil {
		o.wipe()
		return nil, err
	}
	return o, nil
}

func (o *opened) unsealKeys() error {
	for _, k := range o.KEKs {
		if k.State == provider.KeyDestroyed {
			continue
		}
		key, err := o.sealer.openKey(o.ID, k.Version, k.Key)
		if err != nil {
			return err
		}
		o.keys[k.Version] = key
	}
	return nil
}

func (o *opened) wipe() {
	for _, key := range o.keys {
		key.Wipe()
	}
	o.content.wipe()
}

// checkSeal compares what the file needs with what is configured.
func (m *manager) checkSeal(c *content) error {
	switch {
	case c.Seal != nil && !m.pass.configured():
		return provider.Errorf(provider.Unauthenticated, "%w: set passphrase or passphrase_file for %s",
			ErrPassphraseRequired, m.file.path)
	case c.Seal == nil && m.pass.configured():
		return configError(m.pass.attribute(), "%w: %s lies there in the clear: remove the passphrase from the config, "+
			"or create a sealed file and wrap the keys with that", ErrPassphraseUnexpected, m.file.path)
	default:
		return nil
	}
}

// unseal answers the file's sealer, and keeps it once the file proved it right.
// It needs m.mu.
func (m *manager) unseal(c *content, canonical, mac []byte) (*sealer, error) {
	if m.sealer != nil && m.sealer.params.same(c.Seal) {
		return m.sealer, c.authenticate(m.sealer, canonical, mac)
	}
	s, err := m.newSealer(*c.Seal)
	if err != nil {
		return nil, err
	}
	if err := c.authenticate(s, canonical, mac); err != nil {
		s.wipe()
		return nil, err
	}
	m.dropSealer()
	m.sealer = s
	return s, nil
}

func (m *manager) newSealer(p sealParams) (*sealer, error) {
	pass, err := m.pass.read()
	if err != nil {
		return nil, err
	}
	defer pass.Wipe()
	return newSealer(p, pass)
}

// dropSealer needs m.mu.
func (m *manager) dropSealer() {
	if m.sealer != nil {
		m.sealer.wipe()
		m.sealer = nil
	}
}

// Close wipes the keys and the passphrase.
func (m *manager) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.forget()
	m.dropSealer()
	m.pass.value.Wipe()
	return nil
}

// Check reads the file; a deep one also derives the key from the passphrase, and
// wraps and unwraps a root.
func (m *manager) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	start := m.now()
	check := m.checkFile
	if req.Deep {
		check = m.checkWrap
	}
	if err := check(ctx); err != nil {
		return provider.CheckResponse{}, err
	}
	return provider.CheckResponse{
		Identity: "uid " + strconv.Itoa(os.Getuid()),
		Latency:  m.now().Sub(start),
	}, nil
}

func (m *manager) checkFile(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive(ctx); err != nil {
		return err
	}
	data, _, err := m.file.read()
	if err != nil {
		return err
	}
	defer clear(data)
	c, canonical, _, err := decode(data)
	if err != nil {
		return err
	}
	defer c.wipe()
	defer clear(canonical)
	return m.checkSeal(c)
}

func (m *manager) checkWrap(ctx context.Context) error {
	return m.use(ctx, func(o *opened) error {
		root, aad := newRoot(), []byte("keyrotor/local-check")
		defer root.Wipe()
		w, err := o.wrap(provider.WrapItem{Plaintext: root, AAD: aad})
		if err != nil {
			return err
		}
		back, err := o.unwrap(provider.UnwrapItem{Wrapped: w, AAD: aad})
		if err != nil {
			return err
		}
		defer back.Plaintext.Wipe()
		if !back.Plaintext.Equal(root) {
			return provider.Errorf(provider.Integrity, "a root came back from its wrap as another one")
		}
		return nil
	})
}

// DescribeKey lists the KEK's versions.
func (m *manager) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	var res provider.DescribeKeyResponse
	err := m.use(ctx, func(o *opened) error {
		res = provider.DescribeKeyResponse{
			KEKID:          kekID(o.ID),
			State:          provider.KeyEnabled,
			Algorithm:      "AES-256-GCM",
			PrimaryVersion: versionText(o.Primary),
		}
		for _, k := range o.KEKs {
			res.Versions = append(res.Versions, provider.KeyVersion{
				Version: versionText(k.Version), State: k.State, Created: k.Created,
			})
		}
		return nil
	})
	return res, err
}
