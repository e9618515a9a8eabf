package gcpkms

import "github.com/keyrotor/keyrotor/core/provider"

// The attributes of the provider block.
const (
	attrKey             = "key"
	attrCredentialsFile = "credentials_file"
	attrImpersonate     = "impersonate_service_account"
	attrDelegates       = "impersonate_delegates"
	attrEndpoint        = "endpoint"
	attrCAFile          = "ca_file"
	attrPlaintext       = "plaintext"
	attrTimeout         = "timeout"
)

// Schema describes the provider block.
func Schema() provider.Schema {
	return provider.Schema{
		Doc: "Keeps the key-encryption key (KEK) in Google Cloud KMS. " +
			"`keyrotor kek create NAME` makes the key, in a key ring that exists.",
		Attributes: []provider.Attribute{
			{
				Name: attrKey, Type: provider.String, Required: true,
				Doc: "The key's full name, such as \"projects/my-project/locations/europe-west1/keyRings/payments/cryptoKeys/kek\". " +
					"Its purpose is symmetric encryption (ENCRYPT_DECRYPT). No version: Keyrotor follows the primary.",
			},
			{
				Name: attrCredentialsFile, Type: provider.Path,
				Doc: "A JSON file with the credentials of a service account, a user, or workload identity federation; " +
					"read again when it changes. Without it Google's application default credentials are used.",
			},
			{
				Name: attrImpersonate, Type: provider.String,
				Doc: "The e-mail address of a service account to act as. The credentials need roles/iam.serviceAccountTokenCreator on it.",
			},
			{
				Name: attrDelegates, Type: provider.StringList,
				Doc: "Service accounts on the way to impersonate_service_account, each of which may act as the next.",
			},
			{
				Name: attrEndpoint, Type: provider.String, Default: defaultEndpoint,
				Doc: "Host and port of the service: for Private Service Connect, a regional endpoint, or a fake in a test.",
			},
			{
				Name: attrCAFile, Type: provider.Path,
				Doc: "PEM certificates of the authorities that sign the endpoint's certificate, instead of the system's.",
			},
			{
				Name: attrPlaintext, Type: provider.Bool, Default: false,
				Doc: "Speak to the endpoint without TLS and without credentials, for a fake on this machine. Only a loopback address is taken.",
			},
			{
				Name: attrTimeout, Type: provider.Duration, Default: "8s",
				Doc: "How long one request to Cloud KMS may take. Keyrotor itself waits ten seconds for most calls.",
			},
		},
	}
}
