package awskms

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// settings is the provider block, checked.
type settings struct {
	key             keyName
	region          string // empty if AWS's own configuration has to tell
	profile         string
	configFile      string
	credentialsFile string

	accessKeyID     string
	secretAccessKey provider.Secret
	sessionToken    provider.Secret

	roleARN     string
	externalID  string
	sessionName string
	tokenFile   string

	endpoint    string
	stsEndpoint string
	fips        bool
	timeout     time.Duration
}

// keyName is what key_id holds.
type keyName struct {
	text   string
	region string // of an ARN
	// alias: it names an alias, that may be pointed to another key at any time.
	alias bool
	// arn: it is the ARN of a key, which needs no resolving.
	arn bool
}

var (
	keyID     = regexp.MustCompile(`^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$`)
	aliasName = regexp.MustCompile(`^alias/[0-9A-Za-z/_-]{1,250}$`)
	keyARN    = regexp.MustCompile(`^arn:(aws[a-z-]*):kms:([a-z0-9-]+):([0-9]{12}):(key/.+|alias/.+)$`)
	roleARN   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$`)
	region    = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}$`)
	session   = regexp.MustCompile(`^[0-9A-Za-z_+=,.@-]{2,64}$`)
)

func newSettings(body provider.Body) (settings, error) {
	s := settings{
		region: body.String(attrRegion), profile: body.String(attrProfile),
		configFile: body.String(attrConfigFile), credentialsFile: body.String(attrCredentialsFile),
		accessKeyID: body.String(attrAccessKeyID), roleARN: body.String(attrRoleARN),
		secretAccessKey: body.Secret(attrSecretAccessKey).Clone(), sessionToken: body.Secret(attrSessionToken).Clone(),
		externalID: body.String(attrExternalID), sessionName: body.String(attrRoleSessionName),
		tokenFile: body.String(attrWebIdentityToken), fips: body.Bool(attrFIPSEndpoint),
	}
	var err error
	if s.key, err = parseKeyName(body.String(attrKeyID)); err != nil {
		return s, err
	}
	switch {
	case s.region == "":
		s.region = s.key.region
	case !region.MatchString(s.region):
		return s, configError(attrRegion, "%q is no region, such as eu-west-1", s.region)
	case s.key.region != "" && s.region != s.key.region:
		return s, configError(attrRegion, "it is %s, and the ARN in %s is of %s: leave it out", s.region, attrKeyID, s.key.region)
	}
	if s.endpoint, err = parseEndpoint(attrEndpoint, body); err != nil {
		return s, err
	}
	if s.stsEndpoint, err = parseEndpoint(attrSTSEndpoint, body); err != nil {
		return s, err
	}
	if s.timeout, err = parseTimeout(body); err != nil {
		return s, err
	}
	return s, s.checkCredentials()
}

func parseKeyName(text string) (keyName, error) {
	k := keyName{text: text}
	resource := text
	if m := keyARN.FindStringSubmatch(text); m != nil {
		k.region, resource = m[2], m[4]
		if id, isKey := strings.CutPrefix(resource, "key/"); isKey {
			resource, k.arn = id, true
		}
	}
	k.alias = !k.arn && strings.HasPrefix(resource, "alias/")
	switch {
	case text == "":
		return k, configError(attrKeyID, "it is empty: name a key by its ARN, its id or an alias (alias/…)")
	case k.alias && strings.HasPrefix(resource, "alias/aws/"):
		return k, configError(attrKeyID, "%q is a key that AWS manages for its own services: name one of yours", text)
	case k.alias && !aliasName.MatchString(resource), !k.alias && !keyID.MatchString(resource):
		return k, configError(attrKeyID, "%q is neither the ARN nor the id of a key, nor an alias such as alias/payments-kek", text)
	default:
		return k, nil
	}
}

// checkCredentials refuses what does not go together, since AWS's SDK would take one of
// the two without a word.
func (s *settings) checkCredentials() error {
	secret := s.secretAccessKey.Len() > 0
	switch {
	case s.accessKeyID != "" && !secret:
		return configError(attrSecretAccessKey, "it is missing, and %s is set", attrAccessKeyID)
	case s.accessKeyID == "" && secret:
		return configError(attrAccessKeyID, "it is missing, and %s is set", attrSecretAccessKey)
	case s.accessKeyID == "" && s.sessionToken.Len() > 0:
		return configError(attrSessionToken, "it is set, and %s is not", attrAccessKeyID)
	case s.accessKeyID != "" && s.profile != "":
		return configError(attrProfile, "%s is set too: keep one of the two", attrAccessKeyID)
	case s.tokenFile != "" && s.accessKeyID != "":
		return configError(attrWebIdentityToken, "%s is set too: keep one of the two", attrAccessKeyID)
	case s.tokenFile != "" && s.profile != "":
		return configError(attrWebIdentityToken, "%s is set too: keep one of the two", attrProfile)
	case s.tokenFile != "" && s.externalID != "":
		return configError(attrExternalID, "a role that is assumed with a web identity takes none: remove it")
	case s.roleARN == "" && s.tokenFile != "":
		return configError(attrRoleARN, "it is missing, and %s is set: name the role that the token is for", attrWebIdentityToken)
	case s.roleARN == "" && s.externalID != "":
		return configError(attrRoleARN, "it is missing, and %s is set: name the role that asks for it", attrExternalID)
	case s.roleARN != "" && !roleARN.MatchString(s.roleARN):
		return configError(attrRoleARN, "%q is not the ARN of a role, such as arn:aws:iam::111122223333:role/keyrotor", s.roleARN)
	}
	if s.sessionName == "" {
		s.sessionName = "keyrotor"
	}
	if !session.MatchString(s.sessionName) {
		return configError(attrRoleSessionName, "%q is no name of a session: it has 2 to 64 letters, digits and _+=,.@-", s.sessionName)
	}
	return nil
}

func parseEndpoint(attribute string, body provider.Body) (string, error) {
	text := body.String(attribute)
	if !body.Has(attribute) {
		return "", nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", configError(attribute, "it is no URL that begins with https:// or http:// and names a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", configError(attribute, "it holds more than scheme, host and path: remove that")
	default:
		return strings.TrimRight(u.String(), "/"), nil
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

// sameKey reports whether two ARNs are those of one key. A multi-Region key has one ARN a
// region, and the same key material behind all of them.
func sameKey(a, b string) bool {
	if a == b {
		return true
	}
	x, y := keyARN.FindStringSubmatch(a), keyARN.FindStringSubmatch(b)
	return x != nil && y != nil && x[1] == y[1] && x[3] == y[3] && x[4] == y[4] && strings.HasPrefix(x[4], "key/mrk-")
}

func (s *settings) wipe() {
	s.secretAccessKey.Wipe()
	s.sessionToken.Wipe()
}
