// Package awskms is the provider behind the "aws-kms" plugin: a key-encryption key (KEK)
// in AWS KMS. Roots are drawn, wrapped, opened and moved to newer key material inside AWS
// KMS, which never shows the KEK.
//
// A version of the KEK is its key material, named by the id that AWS gives it. AWS puts
// that id into the answers of Decrypt, ReEncrypt and GenerateDataKey and names the current
// one in DescribeKey, so that a wrap, a rotation and the key's description all speak of
// the same thing. Encrypt alone does not say it; the version of such a wrap is learned
// when the wrap is opened. A count of rotations would be no name: two readers of a list
// that is not yet consistent would count differently.
//
// The SDK's retries are off. The host retries what may be retried, a rotation must not
// happen twice, and the SDK takes LimitExceededException, which is final for rotations, for
// throttling. Only the single requests of a batch are tried again here, see [manager.each].
//
// A root and the credentials pass through this process. Roots are wiped as soon as
// possible; the buffers of the SDK, HTTP and TLS, and the credentials, which the SDK keeps
// as strings, are out of reach.
package awskms

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Info names the plugin; version is that of the build.
//
// Batches are not among the capabilities: AWS KMS takes one wrap a request. Neither is
// setting the state of a version, for key material cannot be disabled or destroyed alone.
func Info(version string) provider.Info {
	return provider.Info{
		Name:          "aws-kms",
		Version:       version,
		ProtocolMinor: provider.ProtocolMinor,
		Capabilities: provider.Capabilities{
			provider.CanGenerateDataKey,
			provider.CanNativeRewrap,
			provider.CanRotateKey,
			provider.CanCreateKey,
		},
	}
}

// New builds an instance for one KMS key. It touches neither the network nor any file: the
// first call loads credentials and resolves an alias. The instance also implements
// [provider.KeyCreator]. Its only error is InvalidConfig.
func New(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
	s, err := newSettings(cfg.Body)
	if err != nil {
		return nil, err
	}
	return newManager(s), nil
}
