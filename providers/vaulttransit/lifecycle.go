package vaulttransit

import (
	"context"
	"errors"
	"strconv"

	"github.com/keyrotor/keyrotor/core/provider"
)

// RotateKey adds a version if the latest is the expected one.
//
// Transit has no compare-and-set: of two processes that read the same version at the same
// moment both rotate, and both answer with the newest version that they see. That costs a
// version and nothing else. One instance rotates once at a time.
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
	k, err := m.readKey(ctx)
	if err != nil {
		return none, err
	}
	if latest := strconv.Itoa(k.LatestVersion); req.ExpectedVersion != latest {
		return none, provider.Errorf(provider.VersionChanged, "the KEK's primary is version %s, not %q as expected", latest, req.ExpectedVersion)
	}
	// An object, for older versions of Vault refuse a body that is none.
	r := put(m.keyPath()+"/rotate", []byte(`{}`))
	a, err := m.ask(ctx, r)
	switch {
	case provider.Transient(err):
		return m.settleRotation(ctx, k, err)
	case err != nil:
		return none, m.forgetting(err)
	}
	now, err := decode[*keyInfo](&m.settings, r, a)
	if err != nil || now == nil || now.LatestVersion <= k.LatestVersion { // an older Vault answers nothing
		if now, err = m.readKey(ctx); err != nil {
			return none, provider.Errorf(provider.Unavailable, "the KEK was rotated, and what came of it cannot be read: %w", err)
		}
	}
	return rotated(k, now), nil
}

// settleRotation finds out whether a rotation took effect whose answer did not come.
func (m *manager) settleRotation(ctx context.Context, before *keyInfo, lost error) (provider.RotateKeyResponse, error) {
	now, err := m.readKey(ctx)
	if err != nil || now.LatestVersion == before.LatestVersion {
		return provider.RotateKeyResponse{}, lost
	}
	return rotated(before, now), nil
}

func rotated(before, now *keyInfo) provider.RotateKeyResponse {
	return provider.RotateKeyResponse{OldVersion: strconv.Itoa(before.LatestVersion), NewVersion: strconv.Itoa(now.LatestVersion)}
}

// CreateKey makes a derived key of type aes256-gcm96 that cannot be exported.
//
// Writing a key that exists changes nothing in Vault and succeeds, so it is looked for
// first. If somebody makes it in between, both are told that they did; of another kind
// than ours, it exists already.
func (m *manager) CreateKey(ctx context.Context, _ provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	none := provider.CreateKeyResponse{}
	if err := m.alive(ctx); err != nil {
		return none, err
	}
	_, err := m.readKey(ctx)
	switch {
	case err == nil:
		return none, m.existsError()
	case !errors.Is(err, provider.NotFoundKey):
		return none, err
	}
	body := `{"type":"aes256-gcm96","derived":true,"exportable":false,"allow_plaintext_backup":false}`
	_, lost := m.ask(ctx, put(m.keyPath(), []byte(body)))
	if lost != nil && !provider.Transient(lost) {
		return none, lost
	}
	k, err := m.readKey(ctx) // it tells, too, what came of a request whose answer is lost
	switch {
	case err != nil && lost != nil:
		return none, lost
	case err != nil:
		return none, err
	case !k.Derived || k.Type != "aes256-gcm96":
		return none, m.existsError()
	}
	return provider.CreateKeyResponse{KEKID: m.kekID(), Version: strconv.Itoa(k.LatestVersion)}, nil
}

func (m *manager) existsError() error {
	return provider.Errorf(provider.AlreadyExists, "Vault has a transit key %q at %q already; it is left as it is", m.settings.key, m.mount)
}
