package gcpkms_test

import (
	"context"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/gcpkms"
)

func ExampleNew() {
	kms, err := gcpkms.New(context.Background(), provider.Config{Body: provider.Body{Attributes: map[string]any{
		"key":              "projects/my-project/locations/europe-west1/keyRings/payments/cryptoKeys/kek",
		"credentials_file": "/run/secrets/keyrotor.json",
	}}})
	if err != nil {
		panic(err)
	}
	// Nothing was asked of Google so far; the first call connects.
	fmt.Println(kms.Close())
	// Output: <nil>
}

func ExampleInfo() {
	info := gcpkms.Info("1.0.0")
	fmt.Println(info.Name, info.Version, info.Capabilities.Has(provider.CanNativeRewrap))
	// Output: gcp-kms 1.0.0 false
}

func ExampleSchema() {
	for _, a := range gcpkms.Schema().Attributes {
		fmt.Println(a.Name, a.Type, a.Required)
	}
	// Output:
	// key string true
	// credentials_file path false
	// impersonate_service_account string false
	// impersonate_delegates string-list false
	// endpoint string false
	// ca_file path false
	// plaintext bool false
	// timeout duration false
}
