package awskms

import "github.com/keyrotor/keyrotor/core/provider"

// The attributes of the provider block.
const (
	attrKeyID            = "key_id"
	attrRegion           = "region"
	attrProfile          = "profile"
	attrConfigFile       = "config_file"
	attrCredentialsFile  = "credentials_file"
	attrAccessKeyID      = "access_key_id"
	attrSecretAccessKey  = "secret_access_key"
	attrSessionToken     = "session_token"
	attrRoleARN          = "role_arn"
	attrExternalID       = "external_id"
	attrRoleSessionName  = "role_session_name"
	attrWebIdentityToken = "web_identity_token_file"
	attrEndpoint         = "endpoint"
	attrSTSEndpoint      = "sts_endpoint"
	attrFIPSEndpoint     = "fips_endpoint"
	attrTimeout          = "timeout"
)

// Schema describes the provider block.
func Schema() provider.Schema {
	return provider.Schema{
		Doc: "Keeps the key-encryption key (KEK) in AWS KMS. `keyrotor kek create NAME` makes the key if key_id is an alias.",
		Attributes: []provider.Attribute{
			{
				Name: attrKeyID, Type: provider.String, Required: true,
				Doc: "The key: its ARN, its id, or an alias (\"alias/payments-kek\" or the alias's ARN). " +
					"It is a symmetric encryption key. Wraps name the key's ARN, never the alias.",
			},
			{
				Name: attrRegion, Type: provider.String,
				Doc: "The region of the key. Without it, that of the ARN in key_id, else that of the profile.",
			},
			{
				Name: attrProfile, Type: provider.String,
				Doc: "The profile of AWS's own config and credentials files. Without it, the default chain of credentials.",
			},
			{
				Name: attrConfigFile, Type: provider.Path,
				Doc: "AWS's config file, if it is not ~/.aws/config.",
			},
			{
				Name: attrCredentialsFile, Type: provider.Path,
				Doc: "AWS's credentials file, if it is not ~/.aws/credentials. This and config_file are read again when AWS refuses the credentials.",
			},
			{
				Name: attrAccessKeyID, Type: provider.String,
				Doc: "An access key, instead of the default chain; for example env(\"AWS_ACCESS_KEY_ID\"). A role is better.",
			},
			{
				Name: attrSecretAccessKey, Type: provider.String, Sensitive: true,
				Doc: "The secret of access_key_id.",
			},
			{
				Name: attrSessionToken, Type: provider.String, Sensitive: true,
				Doc: "The session token, if access_key_id is a temporary one.",
			},
			{
				Name: attrRoleARN, Type: provider.String,
				Doc: "A role to assume with those credentials, or with web_identity_token_file.",
			},
			{
				Name: attrExternalID, Type: provider.String,
				Doc: "The external id that the role's trust policy asks for.",
			},
			{
				Name: attrRoleSessionName, Type: provider.String, Default: "keyrotor",
				Doc: "The name of the role's session in CloudTrail.",
			},
			{
				Name: attrWebIdentityToken, Type: provider.Path,
				Doc: "A file with an OIDC token, with which role_arn is assumed; read again at each login. On EKS: " +
					"\"/var/run/secrets/eks.amazonaws.com/serviceaccount/token\".",
			},
			{
				Name: attrEndpoint, Type: provider.String,
				Doc: "Another URL for AWS KMS, such as that of a VPC endpoint.",
			},
			{
				Name: attrSTSEndpoint, Type: provider.String,
				Doc: "Another URL for AWS STS, which hands out the credentials of role_arn and tells who we are. " +
					"For roles inside a profile, AWS's config file has a services section.",
			},
			{
				Name: attrFIPSEndpoint, Type: provider.Bool, Default: false,
				Doc: "Use AWS's FIPS endpoints.",
			},
			{
				Name: attrTimeout, Type: provider.Duration, Default: "8s",
				Doc: "How long one request to AWS may take. Keyrotor itself waits ten seconds for most calls.",
			},
		},
	}
}
