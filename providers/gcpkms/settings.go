package gcpkms

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

const defaultEndpoint = "cloudkms.googleapis.com:443"

// settings is the provider block, checked.
type settings struct {
	key             keyPath
	credentialsFile string
	impersonate     string
	delegates       []string
	endpoint        string
	caFile          string
	plaintext       bool
	timeout         time.Duration
}

// keyPath is the name of a CryptoKey, which is also the KEK's: it never changes, and no
// other key will ever have it.
type keyPath struct {
	project, location, ring, id string
}

func (k keyPath) String() string { return k.keyRing() + "/cryptoKeys/" + k.id }

func (k keyPath) keyRing() string {
	return "projects/" + k.project + "/locations/" + k.location + "/keyRings/" + k.ring
}

// version is the resource name of a version.
func (k keyPath) version(v string) string { return k.String() + versionsInfix + v }

const versionsInfix = "/cryptoKeyVersions/"

// keyForm is what Cloud KMS accepts as a key's name. A project may be one of a domain
// ("example.com:project"), or a number; what it must be exactly, Google decides.
var keyForm = regexp.MustCompile(`^projects/([a-z0-9][a-z0-9.:-]{0,99})/locations/([a-z0-9-]{1,63})` +
	`/keyRings/([a-zA-Z0-9_-]{1,63})/cryptoKeys/([a-zA-Z0-9_-]{1,63})$`)

func parseKeyPath(name string) (keyPath, error) {
	m := keyForm.FindStringSubmatch(name)
	switch {
	case m != nil:
		return keyPath{m[1], m[2], m[3], m[4]}, nil
	case name == "":
		return keyPath{}, configError(attrKey, "it is empty: set the key's full name, projects/P/locations/L/keyRings/R/cryptoKeys/K")
	case strings.Contains(name, versionsInfix):
		return keyPath{}, configError(attrKey, "%q names a version: end it before %s, since Keyrotor follows the primary", name, versionsInfix)
	default:
		return keyPath{}, configError(attrKey, "%q is no full name of a key, which is projects/P/locations/L/keyRings/R/cryptoKeys/K", name)
	}
}

// email is the form of a service account's address, which ends up in an URL.
var email = regexp.MustCompile(`^[A-Za-z0-9._%+-]{1,128}@[A-Za-z0-9.-]{1,190}$`)

func newSettings(body provider.Body) (settings, error) {
	s := settings{
		credentialsFile: body.String(attrCredentialsFile),
		impersonate:     body.String(attrImpersonate),
		delegates:       slices.Clone(body.Strings(attrDelegates)),
		endpoint:        body.String(attrEndpoint),
		caFile:          body.String(attrCAFile),
		plaintext:       body.Bool(attrPlaintext),
	}
	var err error
	if s.key, err = parseKeyPath(body.String(attrKey)); err != nil {
		return settings{}, err
	}
	for _, attribute := range []string{attrCredentialsFile, attrCAFile, attrImpersonate} {
		if body.Has(attribute) && body.String(attribute) == "" {
			return settings{}, configError(attribute, "it is empty: set it, or leave the attribute out")
		}
	}
	if err := s.checkImpersonation(); err != nil {
		return settings{}, err
	}
	if !body.Has(attrEndpoint) {
		s.endpoint = defaultEndpoint
	}
	if err := s.checkEndpoint(); err != nil {
		return settings{}, err
	}
	s.timeout, err = parseTimeout(body)
	return s, err
}

func (s *settings) checkImpersonation() error {
	if s.impersonate != "" && !email.MatchString(s.impersonate) {
		return configError(attrImpersonate, "%q is no e-mail address of a service account", s.impersonate)
	}
	if len(s.delegates) > 0 && s.impersonate == "" {
		return configError(attrDelegates, "%s is not set: these are on the way to nobody", attrImpersonate)
	}
	for _, d := range s.delegates {
		if !email.MatchString(d) {
			return configError(attrDelegates, "%q is no e-mail address of a service account", d)
		}
	}
	return nil
}

// checkEndpoint sees to it that nothing leaves this machine in plain text, and that no
// credential is set that would not be used.
func (s *settings) checkEndpoint() error {
	host, port, err := net.SplitHostPort(s.endpoint)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ ") {
		return configError(attrEndpoint, "%q is no host and port, such as %q", s.endpoint, defaultEndpoint)
	}
	if !s.plaintext {
		return nil
	}
	ip := net.ParseIP(host)
	switch {
	case host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return configError(attrPlaintext, "%s is not this machine: roots would cross a network in plain text, so leave this out", s.endpoint)
	case s.caFile != "":
		return configError(attrCAFile, "%s is set, so there is no TLS: leave one of the two out", attrPlaintext)
	case s.credentialsFile != "":
		return configError(attrCredentialsFile, "%s is set, so no credentials are sent: leave one of the two out", attrPlaintext)
	case s.impersonate != "":
		return configError(attrImpersonate, "%s is set, so no credentials are sent: leave one of the two out", attrPlaintext)
	default:
		return nil
	}
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
