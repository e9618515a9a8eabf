// Package alicloudkms stands in for the seal by Alibaba Cloud KMS: a test server is unsealed by its key
// share.
package alicloudkms

import (
	"context"
	"errors"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// Variables that would configure the seal.
const (
	EnvAliCloudKmsWrapperKeyId   = "ALICLOUDKMS_WRAPPER_KEY_ID"
	EnvVaultAliCloudKmsSealKeyId = "VAULT_ALICLOUDKMS_SEAL_KEY_ID"
)

// Wrapper is the seal. Nothing but SetConfig is ever called.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper makes one.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig fails.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, errors.New("the test server has no seal by Alibaba Cloud KMS")
}
