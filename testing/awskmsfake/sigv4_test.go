package awskmsfake

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

func TestSignatures(t *testing.T) {
	s := newScene(t, Config{})
	key := s.key()
	user, err := s.server.User("user", AllowAll)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.server.User("limited", `{"Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`)
	if err == nil {
		t.Error("a statement that denies is accepted, and nothing here knows of that")
	}
	limited, err := s.server.User("limited", `{"Statement":[{"Effect":"Allow","Action":"kms:Enc*","Resource":"`+key+`"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		who  Credentials
		code string
	}{
		"right":          {user, ""},
		"unknown":        {Credentials{AccessKeyID: "AKIA", SecretAccessKey: "another secret"}, "UnrecognizedClientException"},
		"another secret": {Credentials{AccessKeyID: user.AccessKeyID, SecretAccessKey: "another secret"}, "InvalidSignatureException"},
		"a token":        {Credentials{user.AccessKeyID, user.SecretAccessKey, "x"}, "UnrecognizedClientException"},
		"without rights": {limited, "AccessDeniedException"},
	} {
		_, err := s.as(c.who).DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
		s.refused(what, err, c.code)
	}
	_, err = s.as(limited).Encrypt(s.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
	s.refused("with the right", err, "")
	// A signature is good for the bytes that were signed, and for five minutes.
	tampered := s.as(user, func(o *kms.Options) {
		o.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"KeyId":"alias/other"}`)), 23
			return http.DefaultClient.Do(r)
		})
	})
	_, err = tampered.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
	s.refused("another body", err, "InvalidSignatureException")
	old := s.as(user, func(o *kms.Options) {
		o.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
			at := time.Now().Add(-10 * time.Minute).UTC()
			r.Header.Set("X-Amz-Date", at.Format(timeForm))
			return http.DefaultClient.Do(r)
		})
	})
	_, err = old.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
	s.refused("an old date", err, "InvalidSignatureException")
	resp, err := http.Post(s.server.URL, "application/x-amz-json-1.1", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(body), "UnknownOperationException") {
		t.Errorf("no operation: %d %s", resp.StatusCode, body)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }
