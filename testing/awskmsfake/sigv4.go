package awskmsfake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// skew is how far a request's time may be from the server's
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html).
const skew = 5 * time.Minute

const timeForm = "20060102T150405Z"

// scope is what a signature is good for: date/region/service/aws4_request.
type scope struct{ accessKey, date, region, service string }

func (s scope) String() string { return s.date + "/" + s.region + "/" + s.service + "/aws4_request" }

// authenticate checks the signature of a request as
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
// says. It shares no code with the SDK that signs.
func (s *Server) authenticate(r *http.Request, body []byte, service string, now time.Time) (*principal, scope, *apiError) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, scope{}, refuse("MissingAuthenticationTokenException", "Request is missing Authentication Token")
	}
	fields, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	parts := map[string]string{}
	for part := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	credential := strings.Split(parts["Credential"], "/")
	at, timeErr := time.Parse(timeForm, r.Header.Get("X-Amz-Date"))
	if !ok || len(credential) != 5 || credential[4] != "aws4_request" || timeErr != nil || credential[1] != at.Format("20060102") {
		return nil, scope{}, refuse("IncompleteSignatureException", "the Authorization header is not complete")
	}
	sc := scope{accessKey: credential[0], date: credential[1], region: credential[2], service: credential[3]}
	who := s.principals[sc.accessKey]
	signed := strings.Split(parts["SignedHeaders"], ";")
	switch {
	case who == nil || who.token != r.Header.Get("X-Amz-Security-Token"):
		return nil, sc, refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case !who.expires.IsZero() && !now.Before(who.expires):
		return nil, sc, refuse("ExpiredTokenException", "The security token included in the request is expired")
	case sc.service != service:
		return nil, sc, refuse("InvalidSignatureException", "Credential should be scoped to correct service: '%s'.", service)
	case time.Since(at).Abs() > skew:
		return nil, sc, refuse("InvalidSignatureException", "Signature expired: %s is not within five minutes of now", at)
	case !slices.Contains(signed, "host"):
		return nil, sc, refuse("InvalidSignatureException", "'Host' must be a 'SignedHeader' in the AWS Authorization.")
	case service == "kms" && !slices.Contains(signed, "x-amz-target"):
		return nil, sc, refuse("InvalidSignatureException", "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.")
	case !hmac.Equal([]byte(signature(r, body, sc, signed, who.secret)), []byte(parts["Signature"])):
		return nil, sc, refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	}
	return who, sc, nil
}

func signature(r *http.Request, body []byte, sc scope, signed []string, secret string) string {
	var headers strings.Builder
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		if name == "content-length" {
			value = r.Header.Get("Content-Length")
			if value == "" {
				value = strconv.Itoa(len(body))
			}
		}
		headers.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	canonical := strings.Join([]string{
		r.Method, path, r.URL.Query().Encode(), headers.String(), strings.Join(signed, ";"), digest(body),
	}, "\n")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), sc.String(), digest([]byte(canonical))}, "\n")
	key := mac([]byte("AWS4"+secret), sc.date)
	for _, part := range []string{sc.region, sc.service, "aws4_request"} {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, toSign))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
