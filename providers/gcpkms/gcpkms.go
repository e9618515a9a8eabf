// Package gcpkms is the provider behind the "gcp-kms" plugin: a key-encryption key (KEK) in
// Google Cloud KMS. A wrap is what Cloud KMS encrypts under the AAD that it is bound to,
// with the version that it names.
//
// Cloud KMS draws no data keys and moves no ciphertext to another version. So a root comes
// from this process's random numbers, and a rewrap opens the wrap here and closes it again:
// more roots pass through this process than with other key managers. They are wiped as soon
// as possible; the buffers of gRPC and TLS are out of reach.
//
// Every byte that matters crosses the network with its CRC32C, in both directions, and is
// refused where the checksum is missing or wrong.
//
// Nothing is retried here, because the host retries what may be retried, and a rotation
// must not happen twice; the client's own retries, which cover calls that change something,
// are off. No environment variable matters but those that Google's default credentials
// read, and the operator decides which of them a plugin sees.
package gcpkms

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Info names the plugin; version is that of the build.
func Info(version string) provider.Info {
	return provider.Info{
		Name:          "gcp-kms",
		Version:       version,
		ProtocolMinor: provider.ProtocolMinor,
		Capabilities: provider.Capabilities{
			provider.CanRotateKey,
			provider.CanCreateKey,
			provider.CanSetVersionState,
		},
	}
}

// New builds an instance for one CryptoKey. It touches neither the network nor the files
// that the block names. The instance also implements [provider.KeyCreator] and
// [provider.VersionStateSetter]. Its only error is InvalidConfig.
func New(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
	s, err := newSettings(cfg.Body)
	if err != nil {
		return nil, err
	}
	return newManager(s, nil), nil
}
