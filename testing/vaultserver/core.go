package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// secrets are what an initialisation answers. A test server may keep them in a
// file; no other may.
type secrets struct {
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"`
}

// builtin is what this server has of each kind, by Vault's names.
type builtin map[consts.PluginType]map[string]logical.Factory

func newCore(dir string, memory bool, logger hclog.Logger) (*vault.Core, error) {
	var storage physical.Backend
	var err error
	if memory {
		storage, err = inmem.NewInmem(nil, logger)
	} else {
		storage, err = file.NewFileBackend(map[string]string{"path": filepath.Join(dir, "storage")}, logger)
	}
	if err != nil {
		return nil, err
	}
	b := builtin{
		consts.PluginTypeSecrets:    {"kv": kv.Factory, "transit": transit.Factory},
		consts.PluginTypeCredential: {"approle": approle.Factory, "cert": cert.Factory, "kubernetes": kubernetes.Factory},
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		LogicalBackends:    b[consts.PluginTypeSecrets],
		CredentialBackends: b[consts.PluginTypeCredential],
		AuditBackends:      map[string]audit.Factory{"file": audit.NewFileBackend},
		BuiltinRegistry:    b,
		DisableMlock:       true,
		Logger:             logger,
	})
}

// prepare initialises a fresh storage and unseals it, or one that it finds
// initialised, unless that shall stay sealed.
func prepare(core *vault.Core, path, auditLog string, sealed bool) (keys secrets, err error) {
	ctx := namespace.RootContext(nil)
	initialised, err := core.Initialized(ctx)
	if err != nil {
		return keys, err
	}
	if !initialised {
		return first(core, path, auditLog)
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return keys, fmt.Errorf("the storage beside %s was initialised by a start that was cut short: remove the folder", path)
	} else if err != nil {
		return keys, err
	}
	if err := json.Unmarshal(raw, &keys); err != nil {
		return keys, fmt.Errorf("%s: %w", path, err)
	}
	if sealed {
		return keys, nil
	}
	share, err := hex.DecodeString(keys.UnsealKey)
	if err != nil {
		return keys, fmt.Errorf("%s: unseal_key: %w", path, err)
	}
	return keys, unseal(core, share)
}

func first(core *vault.Core, path, auditLog string) (keys secrets, err error) {
	ctx := namespace.RootContext(nil)
	result, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return keys, fmt.Errorf("initialise: %w", err)
	}
	keys = secrets{RootToken: result.RootToken, UnsealKey: hex.EncodeToString(result.SecretShares[0])}
	raw, err := json.Marshal(keys)
	if err != nil {
		return keys, err
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return keys, err
	}
	if err := unseal(core, result.SecretShares[0]); err != nil {
		return keys, err
	}
	answer, err := core.HandleRequest(ctx, &logical.Request{
		Operation: logical.UpdateOperation, Path: "sys/audit/file", ClientToken: keys.RootToken,
		Data: map[string]any{"type": "file", "options": map[string]any{"file_path": auditLog}},
	})
	if err == nil && answer.IsError() {
		err = answer.Error()
	}
	if err != nil {
		return keys, fmt.Errorf("enable the audit log: %w", err)
	}
	return keys, nil
}

func unseal(core *vault.Core, share []byte) error {
	open, err := core.Unseal(share)
	if err == nil && !open {
		err = errors.New("the key share is not enough")
	}
	if err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	return nil
}

// The methods of plugincatalog.BuiltinRegistry.

func (b builtin) Contains(name string, kind consts.PluginType) bool {
	_, ok := b[kind][name]
	return ok
}

func (b builtin) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := b[kind][name]
	return func() (any, error) { return factory, nil }, ok
}

func (b builtin) Keys(kind consts.PluginType) (names []string) {
	for name := range b[kind] {
		names = append(names, name)
	}
	return names
}

func (b builtin) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, kind)
}

func (b builtin) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
