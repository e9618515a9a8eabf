// Package vaulttransit is the provider behind the "vault-transit" plugin: a key-encryption
// key (KEK) in the transit engine of HashiCorp Vault. Roots are wrapped, opened and moved
// to a newer version of the KEK inside Vault, which never shows the KEK.
//
// A wrap is bound to its AAD by the context of a derived key, see bindingContext. The
// other way that transit has, associated_data, is not used: datakey drops it without a word,
// and rewrap ignores it and then fails.
//
// Nothing is retried here but one call after a new login, because the host retries what
// may be retried, and a rotation must not happen twice; the Vault client's own retries are
// off. Vault's environment variables are not read: what the block says is all there is.
//
// A root and the credentials pass through this process. Both are wiped as soon as
// possible; the buffers of HTTP and TLS, and the token, which Vault's client keeps as a
// string, are out of reach.
package vaulttransit

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Info names the plugin; version is that of the build.
//
// Setting the state of a version is not among the capabilities: transit knows one lower
// bound for all versions (min_decryption_version), and cannot disable one among others.
func Info(version string) provider.Info {
	return provider.Info{
		Name:          "vault-transit",
		Version:       version,
		ProtocolMinor: provider.ProtocolMinor,
		Capabilities: provider.Capabilities{
			provider.CanGenerateDataKey,
			provider.CanNativeRewrap,
			provider.CanRotateKey,
			provider.CanCreateKey,
			provider.CanBatch,
		},
	}
}

// New builds an instance for one transit key. It touches neither the network nor the
// files that the block names. The instance also implements [provider.KeyCreator]. Its only
// error is InvalidConfig.
func New(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
	s, err := newSettings(cfg.Body)
	if err != nil {
		return nil, err
	}
	return newManager(s, nil)
}
