package vaulttransit

import (
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/secretfile"
)

// maxName bounds namespace, mount and key, so that the KEK's name stays within
// [provider.MaxText].
const maxName = 256

// maxCredential has room for a service account's token with many claims.
const maxCredential = 64 << 10

// settings is the provider block, checked.
type settings struct {
	address   string
	namespace string
	mount     string
	key       string
	timeout   time.Duration
	tls       tlsFiles
	method    method
}

// keyName is what transit accepts as the name of a key.
var keyName = regexp.MustCompile(`^[0-9A-Za-z_]([0-9A-Za-z_.-]*[0-9A-Za-z_])?$`)

func newSettings(body provider.Body) (settings, error) {
	s := settings{
		key: body.String(attrKey),
		tls: tlsFiles{
			caFile: body.String(attrCAFile), caPath: body.String(attrCAPath),
			certFile: body.String(attrClientCertFile), keyFile: body.String(attrClientKeyFile),
			serverName: body.String(attrTLSServerName),
		},
	}
	var err error
	if s.address, err = parseAddress(body.String(attrAddress)); err != nil {
		return settings{}, err
	}
	if s.key == "" || len(s.key) > maxName || !keyName.MatchString(s.key) {
		return settings{}, configError(attrKey, "%q is no name of a transit key: it has letters, digits, _, - and ., "+
			"neither - nor . at an end, and at most %d bytes", s.key, maxName)
	}
	mount := body.String(attrMount)
	if !body.Has(attrMount) {
		mount = "transit"
	}
	if s.mount, err = parsePath(attrMount, mount); err != nil {
		return settings{}, err
	}
	if s.namespace, err = parseNamespace(body.String(attrNamespace)); err != nil {
		return settings{}, err
	}
	if s.timeout, err = parseTimeout(body); err != nil {
		return settings{}, err
	}
	if err := s.tls.validate(); err != nil {
		return settings{}, err
	}
	s.method, err = newMethod(body)
	return s, err
}

// parseAddress takes an URL to which "/v1/…" can be added.
func parseAddress(address string) (string, error) {
	if address == "" {
		return "", configError(attrAddress, "it is empty: set Vault's URL, such as https://vault.example.com:8200")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", configError(attrAddress, "it is no URL that begins with https:// or http:// and names a host")
	case u.User != nil:
		return "", configError(attrAddress, "it holds a user or a password, which Vault does not take: remove that")
	case u.RawQuery != "" || u.Fragment != "":
		return "", configError(attrAddress, "it goes on after the path: end it before the ? or #")
	default:
		return strings.TrimRight(u.String(), "/"), nil
	}
}

// parsePath takes the path of a mount or a namespace, without the slashes around it.
func parsePath(attribute, path string) (string, error) {
	clean := strings.Trim(path, "/")
	if len(clean) > maxName {
		return "", configError(attribute, "it has more than %d bytes", maxName)
	}
	for segment := range strings.SplitSeq(clean, "/") {
		odd := strings.ContainsFunc(segment, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) })
		if segment == "" || segment == "." || segment == ".." || odd {
			return "", configError(attribute, "%q is no path of names that are joined by single slashes", path)
		}
	}
	return clean, nil
}

// parseNamespace treats the two names of the root namespace as none.
func parseNamespace(namespace string) (string, error) {
	if trimmed := strings.Trim(namespace, "/"); trimmed == "" || trimmed == "root" {
		return "", nil
	}
	return parsePath(attrNamespace, namespace)
}

func parseTimeout(body provider.Body) (time.Duration, error) {
	text := body.String(attrTimeout)
	if !body.Has(attrTimeout) {
		text = "8s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, configError(attrTimeout, "%q is no duration above zero, such as \"8s\"", text)
	}
	return d, nil
}

// kekID names the key inside its Vault, whatever address leads there. Two Vaults may each
// have a key of one name; a wrap of the other one then does not open, which is an
// integrity error. The format is final.
func (s *settings) kekID() string {
	escape := strings.NewReplacer("%", "%25", ":", "%3A")
	return "vault-transit:" + escape.Replace(s.namespace) + ":" + escape.Replace(s.mount) + ":" + s.key
}

// credential is a secret of the auth block, or the file that holds it.
type credential struct {
	attribute string // of the one that is set
	what      string
	value     provider.Secret
	file      string
}

// newCredential reads a pair of attributes of which one may be set.
func newCredential(body provider.Body, inline, file, what string) (credential, error) {
	c := credential{what: what}
	switch {
	case body.Has(inline) && body.Has(file):
		return c, configError(authAttribute(file), "%s is set too: keep one of the two", inline)
	case body.Has(file):
		c.attribute, c.file = authAttribute(file), body.String(file)
		if c.file == "" {
			return c, configError(c.attribute, "it is empty: name the file, or leave the attribute out")
		}
	case body.Has(inline):
		c.attribute, c.value = authAttribute(inline), body.Secret(inline).Clone()
		if text := body.String(inline); text != "" { // not every attribute is sensitive
			c.value = provider.NewSecret([]byte(text))
		}
		if c.value.Len() == 0 {
			return c, configError(c.attribute, "it is empty: set it, or leave the attribute out")
		}
	}
	return c, nil
}

func (c credential) configured() bool { return c.attribute != "" }

// read answers the secret, which the caller wipes.
func (c credential) read() (provider.Secret, error) {
	if c.file == "" {
		return c.value.Clone(), nil
	}
	secret, err := secretfile.Read(c.file, c.what, maxCredential)
	if err != nil {
		return provider.Secret{}, configError(c.attribute, "%w", err)
	}
	return secret, nil
}

// authAttribute is the path of an attribute of the auth block.
func authAttribute(name string) string { return blockAuth + "." + name }
