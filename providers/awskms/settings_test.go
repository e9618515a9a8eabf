package awskms

import (
	"context"
	"maps"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	exampleARN   = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	exampleAlias = "arn:aws-cn:kms:cn-north-1:111122223333:alias/payments-kek"
	exampleRole  = "arn:aws:iam::111122223333:role/keyrotor"
)

func TestSettings(t *testing.T) {
	secret := provider.NewSecret([]byte("planted-secret"))
	for name, c := range map[string]struct {
		block     map[string]any
		attribute string // empty if it is in order
	}{
		"a key's ARN":             {map[string]any{"key_id": exampleARN}, ""},
		"an alias's ARN":          {map[string]any{"key_id": exampleAlias}, ""},
		"an id":                   {map[string]any{"key_id": "1234abcd-12ab-34cd-56ef-1234567890ab"}, ""},
		"a multi-Region id":       {map[string]any{"key_id": "mrk-1234abcd12ab34cd56ef1234567890ab"}, ""},
		"an alias":                {map[string]any{"key_id": "alias/shop/payments_kek"}, ""},
		"no key":                  {map[string]any{"key_id": nil}, "key_id"},
		"an empty key":            {map[string]any{"key_id": ""}, "key_id"},
		"a name without alias/":   {map[string]any{"key_id": "payments-kek"}, "key_id"},
		"another service's ARN":   {map[string]any{"key_id": "arn:aws:s3:::bucket"}, "key_id"},
		"an ARN without an id":    {map[string]any{"key_id": "arn:aws:kms:eu-west-1:111122223333:key/"}, "key_id"},
		"AWS's own alias":         {map[string]any{"key_id": "alias/aws/s3"}, "key_id"},
		"an odd alias":            {map[string]any{"key_id": "alias/a b"}, "key_id"},
		"a region":                {map[string]any{"region": "us-gov-west-1"}, ""},
		"no region":               {map[string]any{"region": "Ireland"}, "region"},
		"the ARN's region":        {map[string]any{"key_id": exampleARN, "region": "eu-west-1"}, ""},
		"another than the ARN's":  {map[string]any{"key_id": exampleARN, "region": "eu-west-2"}, "region"},
		"a key pair":              {map[string]any{"access_key_id": "AKIA", "secret_access_key": secret}, ""},
		"half a key pair":         {map[string]any{"access_key_id": "AKIA"}, "secret_access_key"},
		"the other half":          {map[string]any{"secret_access_key": secret}, "access_key_id"},
		"a lonely token":          {map[string]any{"session_token": secret}, "session_token"},
		"a key pair, a profile":   {map[string]any{"access_key_id": "AKIA", "secret_access_key": secret, "profile": "shop"}, "profile"},
		"a role":                  {map[string]any{"role_arn": exampleRole, "external_id": "7", "role_session_name": "shop"}, ""},
		"a user's ARN for a role": {map[string]any{"role_arn": "arn:aws:iam::111122223333:user/me"}, "role_arn"},
		"an external id alone":    {map[string]any{"external_id": "7"}, "role_arn"},
		"a session's odd name":    {map[string]any{"role_session_name": "a b"}, "role_session_name"},
		"a web identity":          {map[string]any{"role_arn": exampleRole, "web_identity_token_file": "/t"}, ""},
		"a token without a role":  {map[string]any{"web_identity_token_file": "/t"}, "role_arn"},
		"a token, an external id": {map[string]any{"role_arn": exampleRole, "web_identity_token_file": "/t", "external_id": "7"}, "external_id"},
		"a token, a profile":      {map[string]any{"role_arn": exampleRole, "web_identity_token_file": "/t", "profile": "shop"}, "web_identity_token_file"},
		"a token, a key pair": {map[string]any{
			"role_arn": exampleRole, "web_identity_token_file": "/t", "access_key_id": "AKIA", "secret_access_key": secret,
		}, "web_identity_token_file"},
		"endpoints":               {map[string]any{"endpoint": "https://vpce.example.com/", "sts_endpoint": "http://127.0.0.1:1"}, ""},
		"an endpoint's host only": {map[string]any{"endpoint": "vpce.example.com"}, "endpoint"},
		"an endpoint with a user": {map[string]any{"endpoint": "https://me:planted-secret@vpce.example.com"}, "endpoint"},
		"an empty endpoint":       {map[string]any{"sts_endpoint": ""}, "sts_endpoint"},
		"a timeout":               {map[string]any{"timeout": "3s"}, ""},
		"no time":                 {map[string]any{"timeout": "0s"}, "timeout"},
		"no duration":             {map[string]any{"timeout": "soon"}, "timeout"},
	} {
		attributes := map[string]any{"key_id": "alias/payments-kek"}
		maps.Copy(attributes, c.block)
		km, err := New(context.Background(), provider.Config{Body: with(attributes, nil)})
		if c.attribute == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := km.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantError(t, name, err, provider.InvalidConfig, c.attribute)
	}
}

func TestSameKey(t *testing.T) {
	const mrk = "key/mrk-1234abcd12ab34cd56ef1234567890ab"
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{exampleARN, exampleARN, true},
		{"arn:aws:kms:eu-west-1:111122223333:" + mrk, "arn:aws:kms:us-east-1:111122223333:" + mrk, true},
		{"arn:aws:kms:eu-west-1:111122223333:" + mrk, "arn:aws:kms:us-east-1:444455556666:" + mrk, false},
		{"arn:aws:kms:eu-west-1:111122223333:" + mrk, "arn:aws-cn:kms:cn-north-1:111122223333:" + mrk, false},
		{exampleARN, "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", false},
		{"", exampleARN, false},
		{"alias/x", "alias/y", false},
	} {
		if got := sameKey(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %t", c.a, c.b, got)
		}
	}
}
