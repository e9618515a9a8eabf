package vaulttransit

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/keyrotor/keyrotor/core/provider"
)

// method is one way to get a token.
type method interface {
	// login answers a token. connect makes a client for one; the empty token is none.
	login(ctx context.Context, s *settings, connect func(token string) (*api.Client, error)) (grant, error)
	// origin changes when the credential does and a token that came from it is to be
	// given up.
	origin() string
	// again reports whether a token that died can be followed by another: the block
	// itself holds it, or not.
	again() bool
	wipe()
}

func newMethod(body provider.Body) (method, error) {
	auth, ok := body.Block(blockAuth)
	if !ok {
		return nil, configError(blockAuth, "it is missing: say how to log in, for example with a block auth \"approle\"")
	}
	switch auth.Label {
	case authToken:
		return newGivenToken(auth.Body)
	case authAppRole:
		return newAppRole(auth.Body)
	case authKubernetes:
		return newKubernetes(auth.Body)
	case authCert:
		if body.String(attrClientCertFile) == "" {
			return nil, configError(attrClientCertFile, "it is missing, and auth %q logs in with it", authCert)
		}
		return newCert(auth.Body)
	default:
		return nil, configError(blockAuth, "%q is no way to log in: it is %s, %s, %s or %s",
			auth.Label, authToken, authAppRole, authKubernetes, authCert)
	}
}

// givenToken is a token that the user made.
type givenToken struct{ token credential }

func newGivenToken(body provider.Body) (method, error) {
	c, err := newCredential(body, attrToken, attrTokenFile, "token")
	if err == nil && !c.configured() {
		err = configError(authAttribute(attrToken), "neither this nor %s is set", attrTokenFile)
	}
	return &givenToken{c}, err
}

// login looks the token up, to learn whether it is valid and wants renewal. One that may
// not do that is used as it is.
func (m *givenToken) login(ctx context.Context, s *settings, connect func(string) (*api.Client, error)) (grant, error) {
	g := grant{given: true, origin: m.origin()}
	secret, err := m.token.read()
	if err != nil {
		return g, err
	}
	defer secret.Wipe()
	g.token = string(bytes.TrimSpace(secret.Reveal()))
	if g.token == "" || strings.ContainsFunc(g.token, func(r rune) bool { return !unicode.IsPrint(r) || r > unicode.MaxASCII }) {
		return g, configError(m.token.attribute, "it is no token: it is empty or has characters that none has")
	}
	client, err := connect(g.token)
	if err != nil {
		return g, err
	}
	r := get("auth/token/lookup-self")
	a, err := send(ctx, client, s, r)
	switch {
	case err != nil:
		return g, err
	case a.says(invalidToken):
		return g, m.dead()
	case a.status == http.StatusForbidden:
		return g, nil
	case !a.ok():
		return g, s.failure(r, a)
	}
	id, err := decode[identity](s, r, a)
	g.lease, g.renewable = id.ttl(), id.Renewable
	return g, err
}

func (m *givenToken) dead() error {
	return provider.Errorf(provider.Unauthenticated,
		"Vault says that the token of %s is invalid: it expired, or was revoked, or is another Vault's; put a new one there", m.token.attribute)
}

func (m *givenToken) origin() string {
	if m.token.file == "" {
		return ""
	}
	return stampOf(m.token.file)
}

func (m *givenToken) again() bool { return m.token.file != "" }

func (m *givenToken) wipe() { m.token.value.Wipe() }

// appRole logs in with a role id and a secret id.
type appRole struct {
	mount        string
	role, secret credential
}

func newAppRole(body provider.Body) (method, error) {
	m := &appRole{}
	var err error
	if m.mount, err = authMount(body, authAppRole); err != nil {
		return nil, err
	}
	if m.role, err = newCredential(body, attrRoleID, attrRoleIDFile, "role id"); err != nil {
		return nil, err
	}
	if !m.role.configured() {
		return nil, configError(authAttribute(attrRoleID), "neither this nor %s is set", attrRoleIDFile)
	}
	m.secret, err = newCredential(body, attrSecretID, attrSecretIDFile, "secret id")
	return m, err
}

func (m *appRole) login(ctx context.Context, s *settings, connect func(string) (*api.Client, error)) (grant, error) {
	role, err := m.role.read()
	if err != nil {
		return grant{}, err
	}
	defer role.Wipe()
	fields := map[string]provider.Secret{"role_id": role}
	if m.secret.configured() {
		secret, err := m.secret.read()
		if err != nil {
			return grant{}, err
		}
		defer secret.Wipe()
		fields["secret_id"] = secret
	}
	return logIn(ctx, s, connect, m.mount, fields)
}

func (m *appRole) origin() string { return "" }

func (m *appRole) again() bool { return true }

func (m *appRole) wipe() {
	m.role.value.Wipe()
	m.secret.value.Wipe()
}

// kubernetes logs in with a service account.
type kubernetes struct {
	mount, role string
	jwt         credential
}

func newKubernetes(body provider.Body) (method, error) {
	m := &kubernetes{role: body.String(attrRole)}
	if m.role == "" {
		return nil, configError(authAttribute(attrRole), "it is empty: name the role of the auth method")
	}
	m.jwt = credential{attribute: authAttribute(attrJWTFile), what: "service account's token", file: body.String(attrJWTFile)}
	if !body.Has(attrJWTFile) {
		m.jwt.file = serviceAccountToken
	}
	if m.jwt.file == "" {
		return nil, configError(m.jwt.attribute, "it is empty: name the file, or leave the attribute out")
	}
	var err error
	m.mount, err = authMount(body, authKubernetes)
	return m, err
}

func (m *kubernetes) login(ctx context.Context, s *settings, connect func(string) (*api.Client, error)) (grant, error) {
	jwt, err := m.jwt.read()
	if err != nil {
		return grant{}, err
	}
	defer jwt.Wipe()
	return logIn(ctx, s, connect, m.mount, map[string]provider.Secret{"role": provider.NewSecret([]byte(m.role)), "jwt": jwt})
}

func (m *kubernetes) origin() string { return "" }

func (m *kubernetes) again() bool { return true }

func (m *kubernetes) wipe() {}

// cert logs in with the certificate of the TLS connection.
type cert struct{ mount, name string }

func newCert(body provider.Body) (method, error) {
	mount, err := authMount(body, authCert)
	return &cert{mount, body.String(attrName)}, err
}

func (m *cert) login(ctx context.Context, s *settings, connect func(string) (*api.Client, error)) (grant, error) {
	fields := map[string]provider.Secret{}
	if m.name != "" {
		fields["name"] = provider.NewSecret([]byte(m.name))
	}
	return logIn(ctx, s, connect, m.mount, fields)
}

func (m *cert) origin() string { return "" }

func (m *cert) again() bool { return true }

func (m *cert) wipe() {}

func authMount(body provider.Body, method string) (string, error) {
	mount := body.String(attrMount)
	if !body.Has(attrMount) {
		mount = method
	}
	clean, err := parsePath(authAttribute(attrMount), mount)
	return strings.TrimPrefix(clean, "auth/"), err
}

// logIn sends a login and reads the token that it gives.
func logIn(
	ctx context.Context, s *settings, connect func(string) (*api.Client, error), mount string, fields map[string]provider.Secret,
) (grant, error) {
	client, err := connect("")
	if err != nil {
		return grant{}, err
	}
	body, err := encodeFields(fields)
	if err != nil {
		return grant{}, err
	}
	r := put("auth/"+mount+"/login", body)
	a, err := send(ctx, client, s, r)
	if err != nil {
		return grant{}, err
	}
	if !a.ok() {
		return grant{}, s.loginFailure(r, a)
	}
	defer clear(a.body)
	var out struct {
		Auth *struct {
			ClientToken   string `json:"client_token"`
			LeaseDuration int64  `json:"lease_duration"`
			Renewable     bool   `json:"renewable"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil || out.Auth == nil {
		return grant{}, notVault(s, r, a.status)
	}
	if out.Auth.ClientToken == "" {
		return grant{}, provider.Errorf(provider.Unauthenticated,
			"Vault took the credential and gave no token: it asks for a second factor, which a service cannot give; exempt this role from it")
	}
	return grant{
		token: out.Auth.ClientToken, lease: time.Duration(out.Auth.LeaseDuration) * time.Second, renewable: out.Auth.Renewable,
	}, nil
}

// encodeFields writes a JSON object of texts.
func encodeFields(fields map[string]provider.Secret) ([]byte, error) {
	texts := make(map[string]string, len(fields))
	for name, secret := range fields {
		texts[name] = string(secret.Reveal())
	}
	body, err := json.Marshal(texts)
	if err != nil {
		return nil, provider.Errorf(provider.Internal, "encoding a login: %w", err)
	}
	return body, nil
}
