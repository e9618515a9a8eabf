package awskms

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyrotor/keyrotor/core/provider"
)

// errGone is the cause of a NotFoundKey that is AWS's word, and not about one wrap.
var errGone = errors.New("AWS does not find the key")

func configError(attribute, format string, args ...any) error {
	e := provider.Errorf(provider.InvalidConfig, format, args...)
	e.Attribute = attribute
	return e
}

// failure makes an error of the contract of a request that failed.
func (m *manager) failure(ctx context.Context, c *clients, op string, err error) error {
	if own, ok := errors.AsType[*provider.Error](err); ok { // see refuseShortSecrets
		return own
	}
	api, isAnswer := errors.AsType[smithy.APIError](err)
	if !isAnswer && status(err) < http.StatusMultipleChoices {
		return m.networkError(ctx, "AWS KMS in "+c.region, "kms:"+op, attrEndpoint, m.endpoint, err)
	}
	if !isAnswer { // a proxy's, or another server's
		api = &smithy.GenericAPIError{Code: strconv.Itoa(status(err)), Message: http.StatusText(status(err))}
	}
	what := "AWS KMS in " + c.region + " answers " + tidy(api.ErrorCode()) + " to kms:" + op
	r, known := rules()[api.ErrorCode()]
	if !known {
		r = ruleOfStatus(status(err), m.endpoint != "")
	}
	e := provider.Errorf(r.code, "%s%s%s", what, after(tidy(api.ErrorMessage())), after(r.advice))
	e.Attribute = r.attribute
	switch r.code {
	case provider.NotFoundKey:
		e = provider.Errorf(provider.NotFoundKey, "%w: %s: if it was there before, it was deleted or an alias was, and nothing else opens its wraps; "+
			"else correct %s or %s, or run `keyrotor kek create NAME`, NAME being this provider's name in the config file",
			errGone, what+after(tidy(api.ErrorMessage())), attrKeyID, attrRegion)
	case provider.Throttled, provider.Unavailable:
		e.RetryAfter = retryAfter(err, m.now())
	default:
	}
	return e
}

// after puts a text that may be missing behind another.
func after(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// credentialError is for credentials that could not be had.
func (m *manager) credentialError(ctx context.Context, err error) error {
	if own, ok := errors.AsType[*provider.Error](err); ok { // see refuseShortSecrets
		return own
	}
	who := "the credentials"
	if m.roleARN != "" {
		who = "the role " + m.roleARN
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		r, known := credentialRules()[api.ErrorCode()]
		if !known {
			if r, known = rules()[api.ErrorCode()]; !known {
				r = ruleOfStatus(status(err), m.stsEndpoint != "")
			}
		}
		if r.attribute == attrEndpoint {
			r.attribute = attrSTSEndpoint
		}
		e := provider.Errorf(r.code, "AWS answers %s when asked for %s%s%s", tidy(api.ErrorCode()), who,
			after(tidy(api.ErrorMessage())), after(r.advice))
		e.Attribute = r.attribute
		if provider.Transient(e) {
			e.RetryAfter = retryAfter(err, m.now())
		}
		return e
	}
	_, isNetwork := errors.AsType[net.Error](err)
	if ctx.Err() != nil || m.known.Load() || isNetwork && (m.roleARN != "" || m.accessKeyID != "") {
		return m.networkError(ctx, "AWS STS", who, attrSTSEndpoint, m.stsEndpoint, err)
	}
	if m.tokenFile != "" {
		return configError(attrWebIdentityToken, "the token cannot be used: %s", tidy(err.Error()))
	}
	return provider.Errorf(provider.Unauthenticated, "there are no AWS credentials here (%s): set %s, %s or %s, or run where AWS hands them out. "+
		"Environment variables such as AWS_ACCESS_KEY_ID reach this plugin only if `plugins { environment = […] }` names them",
		tidy(err.Error()), attrProfile, attrAccessKeyID, attrWebIdentityToken)
}

// networkError is for a request without an answer.
func (m *manager) networkError(ctx context.Context, whom, what, attribute, endpoint string, err error) error {
	if m.life.Err() != nil {
		return provider.Errorf(provider.NotFoundInstance, "the instance for %s was closed", m.key.text)
	}
	if ctx.Err() != nil {
		return provider.Errorf(provider.Unavailable, "to %s, %s did not answer in time: %w", what, whom, context.Cause(ctx))
	}
	if endpoint != "" {
		_, authority := errors.AsType[x509.UnknownAuthorityError](err)
		_, host := errors.AsType[x509.HostnameError](err)
		if authority || host || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
			return configError(attribute, "%s cannot be trusted as %s: correct the URL, or name its authority in SSL_CERT_FILE: %s",
				hostOf(endpoint), whom, tidy(err.Error()))
		}
		_, broken := errors.AsType[net.Error](err) // within the answer
		if _, ok := errors.AsType[*smithy.DeserializationError](err); ok && !broken {
			return configError(attribute, "to %s, %s answers what %s does not: is it that? %s", what, hostOf(endpoint), whom, tidy(err.Error()))
		}
	}
	advice := ""
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		advice = ": is the region right?"
	}
	return provider.Errorf(provider.Unavailable, "to %s, %s gives no answer: %s%s", what, whom, tidy(err.Error()), advice)
}

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	return u.Host
}

func status(err error) int {
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return r.HTTPStatusCode()
	}
	return 0
}

// retryAfter reads the header, which AWS itself does not send, and what stands before it may.
func retryAfter(err error, now time.Time) time.Duration {
	r, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || r.Response == nil {
		return 0
	}
	header := r.Response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(header); err == nil {
		return time.Duration(max(0, seconds)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// tidy makes one printable line of bounded length.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return strings.TrimSpace(text)
}

const maxErrorText = 400
