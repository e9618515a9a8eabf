package local

import (
	"context"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/provider"
)

const maxRequestID = 256

// CreateKey makes the file with one KEK, sealed if a passphrase is configured.
func (m *manager) CreateKey(ctx context.Context, _ provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	unlock, err := m.file.lock(ctx)
	if err != nil {
		return provider.CreateKeyResponse{}, err
	}
	defer unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive(ctx); err != nil {
		return provider.CreateKeyResponse{}, err
	}
	c := &content{ID: uuid.New(), Created: m.timestamp(), Primary: 1}
	defer c.wipe()
	var s *sealer
	if m.pass.configured() {
		if s, err = m.newSealer(newSealParams(m.costs)); err != nil {
			return provider.CreateKeyResponse{}, err
		}
		defer s.wipe()
		params := s.params
		params.Check = append([]byte(nil), s.check...)
		c.Seal = &params
	}
	if err := c.addKEK(1, c.Created, s); err != nil {
		return provider.CreateKeyResponse{}, err
	}
	data, err := encode(c, s)
	if err != nil {
		return provider.CreateKeyResponse{}, err
	}
	defer clear(data)
	if err := m.file.create(data); err != nil {
		return provider.CreateKeyResponse{}, err
	}
	return provider.CreateKeyResponse{KEKID: kekID(c.ID), Version: "1"}, nil
}

// RotateKey adds a KEK version and makes it primary. The newest request's id
// again, unless it is empty, is answered as it was then.
func (m *manager) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	if len(req.RequestID) > maxRequestID || !utf8.ValidString(req.RequestID) {
		return provider.RotateKeyResponse{}, provider.Errorf(provider.InvalidArgument,
			"a request id has at most %d bytes of UTF-8", maxRequestID)
	}
	var res provider.RotateKeyResponse
	err := m.update(ctx, func(o *opened) (*content, error) {
		if r := o.Rotation; r != nil && r.RequestID == req.RequestID {
			res = provider.RotateKeyResponse{OldVersion: versionText(r.Old), NewVersion: versionText(r.New)}
			return nil, nil
		}
		if primary := versionText(o.Primary); req.ExpectedVersion != primary {
			return nil, provider.Errorf(provider.VersionChanged,
				"the KEK's primary is version %s, not %q as expected", primary, req.ExpectedVersion)
		}
		next, err := o.rotated(req.RequestID, m.timestamp())
		if err != nil {
			return nil, err
		}
		res = provider.RotateKeyResponse{OldVersion: versionText(o.Primary), NewVersion: versionText(next.Primary)}
		return next, nil
	})
	if err != nil {
		return provider.RotateKeyResponse{}, err
	}
	return res, nil
}

// SetVersionState enables, disables or destroys a version that is not the
// primary. Destroying removes its key from the file for good; it does not reach
// backups, nor what the disk keeps of the old file.
func (m *manager) SetVersionState(ctx context.Context, req provider.SetVersionStateRequest) error {
	switch req.State {
	case provider.KeyEnabled, provider.KeyDisabled, provider.KeyDestroyed:
	default:
		return provider.Errorf(provider.InvalidArgument,
			"a version becomes enabled, disabled or destroyed, not %q", req.State)
	}
	return m.update(ctx, func(o *opened) (*content, error) {
		k := o.find(req.Version)
		switch {
		case k == nil:
			return nil, provider.Errorf(provider.NotFoundVersion, "the KEK has no version %q", req.Version)
		case k.State == req.State:
			return nil, nil
		case k.Version == o.Primary:
			return nil, provider.Errorf(provider.InvalidState,
				"KEK version %s is the primary: rotate the KEK first", req.Version)
		case k.State == provider.KeyDestroyed:
			return nil, provider.Errorf(provider.InvalidState, "KEK version %s is destroyed", req.Version)
		}
		next := o.clone()
		changed := next.kek(k.Version)
		changed.State = req.State
		if req.State == provider.KeyDestroyed {
			changed.Key = nil
		}
		return next, nil
	})
}

// update replaces the file's content by what change makes of it; nil leaves it.
// The lock comes before the mutex, so that waiting for another process does not
// hold up calls that only read.
func (m *manager) update(ctx context.Context, change func(*opened) (*content, error)) error {
	if err := m.file.exists(); err != nil {
		return err
	}
	unlock, err := m.file.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive(ctx); err != nil {
		return err
	}
	// A writer trusts nothing that it read before it had the lock.
	m.forget()
	o, err := m.current()
	if err != nil {
		return err
	}
	next, err := change(o)
	if err != nil || next == nil {
		return err
	}
	defer next.wipe()
	// The content shares keys with what was read.
	defer m.forget()
	data, err := encode(next, o.sealer)
	if err != nil {
		return err
	}
	defer clear(data)
	return m.file.replace(data, o.info)
}

// timestamp is what the file can hold.
func (m *manager) timestamp() time.Time { return m.now().UTC().Truncate(time.Microsecond) }

// find looks a version up by its canonical text.
func (c *content) find(version string) *kek {
	for i := range c.KEKs {
		if versionText(c.KEKs[i].Version) == version {
			return &c.KEKs[i]
		}
	}
	return nil
}

// clone copies what may change; the keys are shared.
func (c *content) clone() *content {
	next := *c
	next.KEKs = append([]kek(nil), c.KEKs...)
	return &next
}

func (o *opened) rotated(requestID string, at time.Time) (*content, error) {
	last := o.KEKs[len(o.KEKs)-1].Version
	if last == math.MaxUint32 {
		return nil, provider.Errorf(provider.LimitExceeded, "the KEK has no version number left")
	}
	next := o.clone()
	if err := next.addKEK(last+1, at, o.sealer); err != nil {
		return nil, err
	}
	next.Rotation = nil
	if requestID != "" {
		next.Rotation = &rotation{RequestID: requestID, Old: o.Primary, New: last + 1}
	}
	next.Primary = last + 1
	return next, nil
}

// addKEK appends an enabled version with a new key, sealed if s is not nil.
func (c *content) addKEK(version uint32, at time.Time, s *sealer) error {
	key := newKey()
	stored := key.Reveal()
	if s != nil {
		defer key.Wipe()
		var err error
		if stored, err = s.sealKey(c.ID, version, key); err != nil {
			return err
		}
	}
	c.KEKs = append(c.KEKs, kek{Version: version, Created: at, State: provider.KeyEnabled, Key: stored})
	return nil
}
