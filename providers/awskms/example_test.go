package awskms_test

import (
	"context"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/awskms"
)

func ExampleNew() {
	kms, err := awskms.New(context.Background(), provider.Config{Body: provider.Body{Attributes: map[string]any{
		"key_id":   "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		"role_arn": "arn:aws:iam::111122223333:role/keyrotor",
	}}})
	if err != nil {
		panic(err)
	}
	// Nothing was asked of AWS so far; the first call assumes the role.
	fmt.Println(kms.Close())
	// Output: <nil>
}

func ExampleInfo() {
	info := awskms.Info("1.0.0")
	fmt.Println(info.Name, info.Version, info.Capabilities.Has(provider.CanNativeRewrap))
	// Output: aws-kms 1.0.0 true
}

func ExampleSchema() {
	for _, a := range awskms.Schema().Attributes {
		if a.Sensitive || a.Required {
			fmt.Println(a.Name, a.Type, a.Sensitive)
		}
	}
	// Output:
	// key_id string false
	// secret_access_key string true
	// session_token string true
}
