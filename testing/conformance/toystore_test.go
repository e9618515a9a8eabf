package conformance

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider"
)

// toyMirror is one store's part of the mirror.
type toyMirror struct {
	Head   provider.MirrorHead
	Events []provider.MirrorEvent
}

func (t *toy) WriteMirror(ctx context.Context, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
	err := t.change(ctx, func(key *toyKey) error {
		store := hex.EncodeToString(req.StoreID[:])
		m := key.Mirrors[store]
		if req.Head.Seq == m.Head.Seq && req.Head.Root != m.Head.Root {
			return provider.Errorf(provider.MirrorConflict, "there is another history")
		}
		for _, e := range req.Events {
			if e.Seq > m.Head.Seq {
				m.Events = append(m.Events, e)
			}
		}
		m.Head = req.Head
		key.Mirrors[store] = m
		return nil
	})
	if err != nil {
		return provider.WriteMirrorResponse{}, err
	}
	return provider.WriteMirrorResponse{Head: &req.Head}, nil
}

func (t *toy) ReadMirror(ctx context.Context, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
	key, err := t.read(ctx)
	if err != nil {
		return provider.ReadMirrorResponse{}, err
	}
	m, ok := key.Mirrors[hex.EncodeToString(req.StoreID[:])]
	if !ok {
		return provider.ReadMirrorResponse{}, nil
	}
	events := slices.DeleteFunc(m.Events, func(e provider.MirrorEvent) bool { return e.Seq < req.FromSeq })
	return provider.ReadMirrorResponse{Head: &m.Head, Events: events[:min(len(events), int(req.Limit))]}, nil
}

// read answers the key as it is now.
func (t *toy) read(ctx context.Context) (*toyKey, error) {
	t.kms.mu.Lock()
	defer t.kms.mu.Unlock()
	return t.load(ctx)
}

// change replaces the key by what f makes of it, or leaves it if f fails.
func (t *toy) change(ctx context.Context, f func(*toyKey) error) error {
	t.kms.mu.Lock()
	defer t.kms.mu.Unlock()
	key, err := t.load(ctx)
	if err != nil {
		return err
	}
	if err := f(key); err != nil {
		return err
	}
	return t.save(key)
}

// load needs the key manager's mutex.
func (t *toy) load(ctx context.Context) (*toyKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, provider.Errorf(provider.Unavailable, "%w", err)
	}
	key, err := t.kms.load(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, provider.Errorf(provider.NotFoundKey, "there is no key")
	case err != nil:
		return nil, provider.Errorf(provider.Unavailable, "%w", err)
	case subtle.ConstantTimeCompare(key.Token, t.token[:]) != 1:
		return nil, provider.Errorf(provider.Unauthenticated, "the token is wrong")
	default:
		return key, nil
	}
}

// save needs the key manager's mutex.
func (t *toy) save(key *toyKey) error {
	if err := t.kms.save(t.path, key); err != nil {
		return provider.Errorf(provider.Unavailable, "%w", err)
	}
	return nil
}

func (kms *toyKMS) load(path string) (*toyKey, error) {
	if kms.memory != nil {
		if key, ok := kms.memory[path]; ok {
			return key.clone(), nil
		}
		return nil, fs.ErrNotExist
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var key toyKey
	return &key, json.Unmarshal(data, &key)
}

// save leaves the old file if the process is killed.
func (kms *toyKMS) save(path string, key *toyKey) error {
	if kms.memory != nil {
		kms.memory[path] = key.clone()
		return nil
	}
	data, err := json.Marshal(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// clone shares what nobody changes: material and events.
func (k *toyKey) clone() *toyKey {
	c := *k
	c.Versions, c.Mirrors = slices.Clone(k.Versions), maps.Clone(k.Mirrors)
	for store, m := range c.Mirrors {
		m.Events = slices.Clone(m.Events)
		c.Mirrors[store] = m
	}
	return &c
}
