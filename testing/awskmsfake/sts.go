package awskmsfake

import (
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The pages of AWS STS are in https://docs.aws.amazon.com/STS/latest/APIReference/.

type stsError struct {
	XMLName xml.Name `xml:"ErrorResponse"`
	Error   struct{ Type, Code, Message string }
}

func failXML(w http.ResponseWriter, e *apiError) {
	var out stsError
	// The query protocol spells the common errors without "Exception".
	out.Error.Type, out.Error.Code, out.Error.Message = "Sender", e.code, e.message
	switch e.code {
	case "UnrecognizedClientException":
		out.Error.Code = "InvalidClientTokenId"
	case "InvalidSignatureException":
		out.Error.Code = "SignatureDoesNotMatch"
	case "ThrottlingException":
		out.Error.Code = "Throttling"
	case "AccessDeniedException":
		out.Error.Code = "AccessDenied"
	case "KMSInternalException":
		out.Error.Code = "InternalFailure"
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(e.status)
	_ = xml.NewEncoder(w).Encode(out)
}

func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request, body []byte) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		failXML(w, refuse("ValidationError", "%v", err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now()
	result, refused := s.answerSTS(r, body, form, now)
	if refused != nil {
		failXML(w, refused)
		return
	}
	action := form.Get("Action")
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

func (s *Server) answerSTS(r *http.Request, body []byte, form url.Values, now time.Time) (string, *apiError) {
	role := s.roles[form.Get("RoleArn")]
	name := form.Get("RoleSessionName")
	switch form.Get("Action") {
	case "AssumeRoleWithWebIdentity": // API_AssumeRoleWithWebIdentity: it is not signed
		switch {
		case role == nil || role.WebIdentityToken == "":
			return "", denied("AssumeRoleWithWebIdentity")
		case form.Get("WebIdentityToken") != role.WebIdentityToken:
			return "", refuse("InvalidIdentityToken", "the token is not one of this role's")
		}
		return s.assume(role, name, now), nil
	case "AssumeRole": // API_AssumeRole
		who, _, err := s.authenticate(r, body, "sts", now)
		switch {
		case err != nil:
			return "", err
		case role == nil || role.Trusted != who.arn || role.ExternalID != form.Get("ExternalId"):
			return "", denied("AssumeRole")
		}
		return s.assume(role, name, now), nil
	case "GetCallerIdentity": // API_GetCallerIdentity: nobody needs a right for it
		who, _, err := s.authenticate(r, body, "sts", now)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("<Arn>%s</Arn><UserId>FAKE</UserId><Account>%s</Account>", who.arn, Account), nil
	default:
		return "", refuse("InvalidAction", "no action %q", form.Get("Action"))
	}
}

func denied(action string) *apiError {
	return &apiError{code: "AccessDenied", status: http.StatusForbidden, message: "Not authorized to perform sts:" + action}
}

// assume makes credentials that end.
func (s *Server) assume(role *Role, name string, now time.Time) string {
	lasts := role.Lasts
	if lasts == 0 {
		lasts = time.Hour
	}
	n := s.next()
	c := Credentials{
		AccessKeyID: fmt.Sprintf("ASIAFAKE%012d", n), SecretAccessKey: "fake/" + hex.EncodeToString(randomBytes(17)),
		SessionToken: hex.EncodeToString(randomBytes(32)),
	}
	arn := strings.Replace(strings.Replace(role.ARN(), ":iam:", ":sts:", 1), ":role/", ":assumed-role/", 1) + "/" + name
	s.principals[c.AccessKeyID] = &principal{arn: arn, secret: c.SecretAccessKey, token: c.SessionToken, expires: now.Add(lasts), policy: role.policy}
	return fmt.Sprintf("<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken>"+
		"<Expiration>%s</Expiration></Credentials><AssumedRoleUser><Arn>%s</Arn><AssumedRoleId>FAKE:%s</AssumedRoleId></AssumedRoleUser>",
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken, now.Add(lasts).UTC().Format(time.RFC3339), arn, name)
}
