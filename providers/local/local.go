// Package local is the provider behind the "local" plugin: a key manager that is
// one file. It exists so that Keyrotor works on a laptop, in a test and on a
// single machine before anybody has set a real key manager up, with the same
// calls, errors and rotation as the others.
//
// The file holds every version of one key-encryption key (KEK), each an AES-256
// key. It is either plain, and then as safe as the file's permissions, or sealed:
// each KEK is encrypted under a key derived from a passphrase, and all of the file
// is authenticated by it. See document for the format.
//
// Several processes may use one file. Writers take a lock beside it and replace
// it atomically; readers notice that it was replaced and read it again.
//
// A KEK passes through the memory of this process, and so does every root that it
// wraps. Both are wiped as soon as possible; copies that Go's garbage collector or
// its JSON package made are out of reach.
package local

import (
	"context"

	"github.com/keyrotor/keyrotor/core/provider"
)

// The attributes of the provider block.
const (
	attrPath           = "path"
	attrPassphrase     = "passphrase"
	attrPassphraseFile = "passphrase_file"
)

// Info names the plugin; version is that of the build.
//
// Native rewrap is not among the capabilities: the plaintext is in this process
// while a wrap moves to another KEK version.
func Info(version string) provider.Info {
	return provider.Info{
		Name:          "local",
		Version:       version,
		ProtocolMinor: provider.ProtocolMinor,
		Capabilities: provider.Capabilities{
			provider.CanRotateKey,
			provider.CanCreateKey,
			provider.CanSetVersionState,
			provider.CanBatch,
		},
	}
}

// Schema describes the provider block.
func Schema() provider.Schema {
	return provider.Schema{
		Doc: "Keeps the key-encryption key (KEK) in a file on this machine, for development, " +
			"tests and single machines. `keyrotor kek create NAME` makes the file. Whoever has the file, " +
			"and its passphrase if it has one, can open everything; back it up apart from the store.",
		Attributes: []provider.Attribute{
			{
				Name:     attrPath,
				Type:     provider.Path,
				Required: true,
				Doc: "The KEK file. It must be a regular file, not a symbolic link, that only its owner " +
					"can read (mode 0600 or 0400). Its folder must be writable to create or rotate the KEK; " +
					"a file PATH.lock appears beside it.",
			},
			{
				Name:      attrPassphrase,
				Type:      provider.String,
				Sensitive: true,
				Doc: "The passphrase that seals the file, for example env(\"KEK_PASSPHRASE\"). Without this " +
					"and passphrase_file the file is created unsealed. It must be absent for a file that is not sealed.",
			},
			{
				Name: attrPassphraseFile,
				Type: provider.Path,
				Doc: "A file that holds the passphrase, instead of passphrase: read when it is needed, at most " +
					"4096 bytes, one newline at its end dropped. It may be a symbolic link, as mounted secrets are, " +
					"and its permissions are not checked.",
			},
		},
	}
}

// New builds an instance for one KEK file. It does not touch the file, which need
// not exist yet. The instance also implements [provider.KeyCreator] and
// [provider.VersionStateSetter]. Its only error is InvalidConfig.
func New(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
	path := cfg.Body.String(attrPath)
	if path == "" {
		return nil, configError(attrPath, "it is empty: name the KEK file")
	}
	pass, err := newPassphrase(cfg.Body)
	if err != nil {
		return nil, err
	}
	return newManager(path, pass), nil
}
