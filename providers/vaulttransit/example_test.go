package vaulttransit_test

import (
	"context"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/vaulttransit"
)

func ExampleNew() {
	kms, err := vaulttransit.New(context.Background(), provider.Config{Body: provider.Body{
		Attributes: map[string]any{"address": "https://vault.example.com:8200", "key": "payments-kek"},
		Blocks: []provider.Block{{Type: "auth", Label: "approle", Body: provider.Body{Attributes: map[string]any{
			"role_id": "7c1e…", "secret_id_file": "/run/secrets/secret-id",
		}}}},
	}})
	if err != nil {
		panic(err)
	}
	// Nothing was asked of Vault so far; the first call logs in.
	fmt.Println(kms.Close())
	// Output: <nil>
}

func ExampleInfo() {
	info := vaulttransit.Info("1.0.0")
	fmt.Println(info.Name, info.Version, info.Capabilities.Has(provider.CanNativeRewrap))
	// Output: vault-transit 1.0.0 true
}

func ExampleSchema() {
	for _, b := range vaulttransit.Schema().Blocks {
		fmt.Println(b.Type, b.Labels[0])
		for _, a := range b.Body.Attributes {
			fmt.Println(" ", a.Name, a.Type, a.Sensitive)
		}
	}
	// Output:
	// auth token
	//   token string true
	//   token_file path false
	// auth approle
	//   role_id string false
	//   role_id_file path false
	//   secret_id string true
	//   secret_id_file path false
	//   mount string false
	// auth kubernetes
	//   role string false
	//   jwt_file path false
	//   mount string false
	// auth cert
	//   name string false
	//   mount string false
}
