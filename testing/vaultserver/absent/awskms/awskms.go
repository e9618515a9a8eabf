// Package awskms stands in for the seal by AWS KMS: a test server is unsealed by its key
// share.
package awskms

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// Variables that would configure the seal.
const (
	EnvAwsKmsWrapperKeyId   = "AWSKMS_WRAPPER_KEY_ID"
	EnvVaultAwsKmsSealKeyId = "VAULT_AWSKMS_SEAL_KEY_ID"
)

// Wrapper is the seal. Nothing but SetConfig is ever called.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper makes one.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig fails.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, errors.New("the test server has no seal by AWS KMS")
}

// WithDisallowEnvVars does nothing.
func WithDisallowEnvVars(bool) wrapping.Option { return nil }

// WithLogger does nothing. The core gives it to its own seal, whatever that is.
func WithLogger(hclog.Logger) wrapping.Option { return nil }
