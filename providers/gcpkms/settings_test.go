package gcpkms

import (
	"maps"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		change    map[string]any
		attribute string
		says      string
	}{
		"no key":                    {map[string]any{"key": ""}, attrKey, "full name"},
		"a short name":              {map[string]any{"key": "kek"}, attrKey, "projects/P"},
		"a key ring":                {map[string]any{"key": testRing}, attrKey, "projects/P"},
		"a version":                 {map[string]any{"key": testKey + "/cryptoKeyVersions/1"}, attrKey, "primary"},
		"a slash too many":          {map[string]any{"key": testKey + "/"}, attrKey, "projects/P"},
		"a URL":                     {map[string]any{"key": "https://cloudkms.googleapis.com/v1/" + testKey}, attrKey, "projects/P"},
		"a line":                    {map[string]any{"key": testKey + "\n"}, attrKey, "projects/P"},
		"a project in capitals":     {map[string]any{"key": strings.Replace(testKey, "my-project", "My-Project", 1)}, attrKey, "projects/P"},
		"a long key":                {map[string]any{"key": testKey + strings.Repeat("x", 61)}, attrKey, "projects/P"},
		"empty credentials":         {map[string]any{"credentials_file": ""}, attrCredentialsFile, "empty"},
		"empty authorities":         {map[string]any{"ca_file": ""}, attrCAFile, "empty"},
		"nobody":                    {map[string]any{"impersonate_service_account": ""}, attrImpersonate, "empty"},
		"no address":                {map[string]any{"impersonate_service_account": "kms"}, attrImpersonate, "e-mail"},
		"an address of more":        {map[string]any{"impersonate_service_account": "a@b/../../x"}, attrImpersonate, "e-mail"},
		"on the way to nobody":      {map[string]any{"impersonate_delegates": []string{"a@b.c"}}, attrDelegates, attrImpersonate},
		"no address on the way":     {map[string]any{"impersonate_service_account": "a@b.c", "impersonate_delegates": []string{"b"}}, attrDelegates, "e-mail"},
		"no port":                   {map[string]any{"endpoint": "cloudkms.googleapis.com"}, attrEndpoint, "host and port"},
		"a scheme":                  {map[string]any{"endpoint": "https://cloudkms.googleapis.com:443"}, attrEndpoint, "host and port"},
		"no endpoint":               {map[string]any{"endpoint": ""}, attrEndpoint, "host and port"},
		"port zero":                 {map[string]any{"endpoint": "localhost:0"}, attrEndpoint, "host and port"},
		"plaintext to Google":       {map[string]any{"plaintext": true}, attrPlaintext, "not this machine"},
		"plaintext to a network":    {map[string]any{"plaintext": true, "endpoint": "10.0.0.1:443"}, attrPlaintext, "not this machine"},
		"plaintext to a name":       {map[string]any{"plaintext": true, "endpoint": "localhost.example:443"}, attrPlaintext, "not this machine"},
		"plaintext and TLS":         {map[string]any{"plaintext": true, "endpoint": "127.0.0.1:1", "ca_file": "/ca"}, attrCAFile, "no TLS"},
		"plaintext and credentials": {map[string]any{"plaintext": true, "endpoint": "127.0.0.1:1", "credentials_file": "/c"}, attrCredentialsFile, "no credentials are sent"},
		"plaintext as somebody":     {map[string]any{"plaintext": true, "endpoint": "127.0.0.1:1", "impersonate_service_account": "a@b.c"}, attrImpersonate, "no credentials are sent"},
		"no duration":               {map[string]any{"timeout": "soon"}, attrTimeout, "duration"},
		"no time":                   {map[string]any{"timeout": "0s"}, attrTimeout, "above zero"},
	} {
		attributes := map[string]any{"key": testKey}
		maps.Copy(attributes, c.change)
		_, err := New(t.Context(), provider.Config{Body: body(attributes)})
		wantError(t, name, err, provider.InvalidConfig, c.attribute, c.says)
	}
}

func TestSettingsThatAreFine(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"nothing more":      {},
		"a domain's":        {"key": "projects/example.com:my-project/locations/global/keyRings/R_1/cryptoKeys/K-2"},
		"a project number":  {"key": "projects/123456789012/locations/us/keyRings/r/cryptoKeys/k"},
		"all of TLS":        {"credentials_file": "/none", "ca_file": "/none", "endpoint": "cloudkms.europe-west1.rep.googleapis.com:443", "timeout": "2s"},
		"as somebody":       {"impersonate_service_account": "kms@my-project.iam.gserviceaccount.com", "impersonate_delegates": []string{"a@b.iam.gserviceaccount.com"}},
		"a fake":            {"endpoint": "127.0.0.1:1234", "plaintext": true},
		"a fake by name":    {"endpoint": "localhost:1234", "plaintext": true},
		"a fake over IPv6":  {"endpoint": "[::1]:1234", "plaintext": true},
		"a fake with TLS":   {"endpoint": "127.0.0.1:1234", "plaintext": false},
		"a longest of keys": {"key": strings.Replace(testKey, "kek", strings.Repeat("k", 63), 1)},
	} {
		attributes := map[string]any{"key": testKey}
		maps.Copy(attributes, change)
		m, err := New(t.Context(), provider.Config{Body: body(attributes)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAuthorities: a file that is wrong is one of the config.
func TestAuthorities(t *testing.T) {
	m := open(t, body(map[string]any{"key": testKey, "ca_file": "README.md", "credentials_file": newServiceAccount(t).file}))
	_, err := m.DescribeKey(t.Context())
	wantError(t, "a file of something else", err, provider.InvalidConfig, attrCAFile, "no PEM certificate")
	s := guarded(t, nil)
	m = open(t, body(map[string]any{"key": testKey, "endpoint": s.Endpoint, "credentials_file": newServiceAccount(t).file}))
	_, err = m.DescribeKey(t.Context())
	wantError(t, "an authority that nobody knows", err, provider.InvalidConfig, attrCAFile, "not signed")
	m = open(t, body(map[string]any{"key": testKey, "endpoint": s.Endpoint, "plaintext": true}))
	_, err = m.DescribeKey(t.Context())
	wantError(t, "plain text to TLS", err, provider.Unavailable, "")
}
