package local_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/local"
)

func ExampleNew() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	kms, err := local.New(ctx, provider.Config{Body: provider.Body{Attributes: map[string]any{
		"path": filepath.Join(dir, "kek.json"),
	}}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = kms.Close() }()
	creator, ok := kms.(provider.KeyCreator)
	if !ok {
		panic("local has no CreateKey")
	}
	if _, err := creator.CreateKey(ctx, provider.CreateKeyRequest{}); err != nil {
		panic(err)
	}

	root, err := kms.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{AAD: []byte("payments v1")})
	if err != nil {
		panic(err)
	}
	defer root.Plaintext.Wipe()
	if _, err := kms.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "1"}); err != nil {
		panic(err)
	}
	back, err := kms.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: root.Wrapped, AAD: []byte("payments v1")}})
	if err != nil || back[0].Err != nil {
		panic(fmt.Sprint(err, back[0].Err))
	}
	defer back[0].Plaintext.Wipe()
	fmt.Println(back[0].Plaintext.Equal(root.Plaintext), "opened by version", back[0].KEKVersion)
	// Output: true opened by version 1
}

func ExampleInfo() {
	info := local.Info("1.0.0")
	fmt.Println(info.Name, info.Version, info.Capabilities.Has(provider.CanNativeRewrap))
	// Output: local 1.0.0 false
}

func ExampleSchema() {
	for _, a := range local.Schema().Attributes {
		fmt.Println(a.Name, a.Type, a.Required, a.Sensitive)
	}
	// Output:
	// path path true false
	// passphrase string false true
	// passphrase_file path false false
}
