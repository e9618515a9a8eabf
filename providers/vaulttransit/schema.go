package vaulttransit

import "github.com/keyrotor/keyrotor/core/provider"

// The attributes and blocks of the provider block.
const (
	attrAddress        = "address"
	attrKey            = "key"
	attrMount          = "mount"
	attrNamespace      = "namespace"
	attrCAFile         = "ca_file"
	attrCAPath         = "ca_path"
	attrClientCertFile = "client_cert_file"
	attrClientKeyFile  = "client_key_file"
	attrTLSServerName  = "tls_server_name"
	attrTimeout        = "timeout"

	blockAuth = "auth"
)

// The labels of the auth block, and the attributes inside.
const (
	authToken      = "token"
	authAppRole    = "approle"
	authKubernetes = "kubernetes"
	authCert       = "cert"

	attrToken        = "token"
	attrTokenFile    = "token_file"
	attrRoleID       = "role_id"
	attrRoleIDFile   = "role_id_file"
	attrSecretID     = "secret_id"
	attrSecretIDFile = "secret_id_file"
	attrRole         = "role"
	attrJWTFile      = "jwt_file"
	attrName         = "name"
)

// serviceAccountToken is where Kubernetes puts a pod's own token.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

// Schema describes the provider block.
func Schema() provider.Schema {
	return provider.Schema{
		Doc: "Keeps the key-encryption key (KEK) in the transit engine of HashiCorp Vault. " +
			"`keyrotor kek create NAME` makes the key.",
		Attributes: []provider.Attribute{
			{
				Name: attrAddress, Type: provider.String, Required: true,
				Doc: "Vault's URL, such as \"https://vault.example.com:8200\". It is no part of the KEK's name: " +
					"a Vault that moves is still the same.",
			},
			{
				Name: attrKey, Type: provider.String, Required: true,
				Doc: "The name of the transit key. Its type is aes256-gcm96, aes128-gcm96 or chacha20-poly1305, and it should be derived.",
			},
			{
				Name: attrMount, Type: provider.String, Default: "transit",
				Doc: "Where the transit engine is mounted.",
			},
			{
				Name: attrNamespace, Type: provider.String,
				Doc: "The namespace of the mount and of the auth method, in Vault Enterprise and HCP Vault.",
			},
			{
				Name: attrCAFile, Type: provider.Path,
				Doc: "PEM certificates of the authorities that sign Vault's certificate, instead of the system's. " +
					"Like the other TLS files it is read again when it changes.",
			},
			{
				Name: attrCAPath, Type: provider.Path,
				Doc: "A folder of such files; together with ca_file if both are set.",
			},
			{
				Name: attrClientCertFile, Type: provider.Path,
				Doc: "This client's PEM certificate, with its chain, for auth \"cert\" or a listener that asks for one.",
			},
			{
				Name: attrClientKeyFile, Type: provider.Path,
				Doc: "The PEM private key of client_cert_file.",
			},
			{
				Name: attrTLSServerName, Type: provider.String,
				Doc: "The name that Vault's certificate must have, if it is not the host of the address.",
			},
			{
				Name: attrTimeout, Type: provider.Duration, Default: "8s",
				Doc: "How long one request to Vault may take. Keyrotor itself waits ten seconds for most calls.",
			},
		},
		Blocks: authSchemas(),
	}
}

func authSchemas() []provider.BlockSchema {
	mount := func(method string) provider.Attribute {
		return provider.Attribute{
			Name: attrMount, Type: provider.String, Default: method,
			Doc: "Where the auth method is mounted.",
		}
	}
	auth := func(label, doc string, attributes ...provider.Attribute) provider.BlockSchema {
		return provider.BlockSchema{
			Type: blockAuth, Labels: []string{label}, Required: true,
			Body: provider.Schema{Doc: doc, Attributes: attributes},
		}
	}
	return []provider.BlockSchema{
		auth(authToken, "Use a token that somebody else made and revokes. It is renewed while it lasts if it is renewable.",
			provider.Attribute{
				Name: attrToken, Type: provider.String, Sensitive: true,
				Doc: "The token, for example env(\"KEYROTOR_VAULT_TOKEN\").",
			},
			provider.Attribute{
				Name: attrTokenFile, Type: provider.Path,
				Doc: "A file that holds the token, instead of token, such as the sink of a Vault Agent; read again when it changes.",
			},
		),
		auth(authAppRole, "Log in with an AppRole.",
			provider.Attribute{Name: attrRoleID, Type: provider.String, Doc: "The role's id."},
			provider.Attribute{Name: attrRoleIDFile, Type: provider.Path, Doc: "A file that holds it, instead of role_id."},
			provider.Attribute{
				Name: attrSecretID, Type: provider.String, Sensitive: true,
				Doc: "A secret id of the role. Without this and secret_id_file none is sent, which fits a role with bind_secret_id=false.",
			},
			provider.Attribute{
				Name: attrSecretIDFile, Type: provider.Path,
				Doc: "A file that holds it, instead of secret_id; read again at every login.",
			},
			mount(authAppRole),
		),
		auth(authKubernetes, "Log in with the service account of the pod that this runs in.",
			provider.Attribute{Name: attrRole, Type: provider.String, Required: true, Doc: "The role of the auth method."},
			provider.Attribute{
				Name: attrJWTFile, Type: provider.Path, Default: serviceAccountToken,
				Doc: "The service account's token; read again at every login.",
			},
			mount(authKubernetes),
		),
		auth(authCert, "Log in with client_cert_file and client_key_file.",
			provider.Attribute{
				Name: attrName, Type: provider.String,
				Doc: "The role of the auth method. Without it Vault tries every role that fits the certificate.",
			},
			mount(authCert),
		),
	}
}
