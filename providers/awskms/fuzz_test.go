package awskms

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	someARN      = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	someMaterial = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// FuzzKeyName: what is taken for a key's name reads as its own parts say, and everything
// else is an error of that attribute.
func FuzzKeyName(f *testing.F) {
	for _, seed := range []string{
		someARN, "arn:aws:kms:eu-west-1:111122223333:alias/payments-kek", "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef",
		"1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-0123456789abcdef0123456789abcdef", "alias/payments-kek", "alias/aws/s3", "alias/", "",
		"arn:aws:kms:eu-west-1:111122223333:key/alias/x", "arn:aws:kms:eu-west-1:111122223333:key/" + someARN, someARN + "\n", "arn:aws:kms",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseKeyName(text)
		if err != nil {
			wantClosed(t, err, 300+4*len(text)) // it is quoted
			wantError(t, text, err, provider.InvalidConfig, attrKeyID)
			return
		}
		want := keyName{text: text, alias: strings.HasPrefix(text, "alias/")}
		if parts := strings.Split(text, ":"); len(parts) == 6 && parts[0] == "arn" && parts[2] == "kms" {
			want.region, want.alias = parts[3], strings.HasPrefix(parts[5], "alias/")
			want.arn = !want.alias
		}
		if k != want || len(strings.Fields(text)) != 1 || sameKey(text, text+"0") {
			t.Errorf("%q reads as %+v", text, k)
		}
	})
}

// FuzzAnswer: whatever AWS answers, there is a result for each item, or one error of the
// closed set whose text is one line.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", fmt.Sprintf(`{"KeyId":%q,"KeyMaterialId":%q,"Plaintext":"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=","CiphertextBlob":"YQ=="}`, someARN, someMaterial))
	f.Add(200, "", fmt.Sprintf(`{"KeyMetadata":{"Arn":%q,"KeySpec":"SYMMETRIC_DEFAULT","KeyUsage":"ENCRYPT_DECRYPT","KeyState":"Enabled","CurrentKeyMaterialId":%q,`+
		`"CreationDate":1.7e9},"Rotations":[{"KeyMaterialId":%q,"RotationDate":1.7e9}],"Truncated":false}`, someARN, someMaterial, someMaterial))
	f.Add(200, "", `{"KeyMetadata":{"Arn":"arn:aws:kms:eu-west-1:111122223333:key/x\ny"},"Rotations":[{}],"Truncated":true,"NextMarker":"m"}`)
	f.Add(400, "", `{"__type":"com.amazonaws.kms#InvalidCiphertextException","message":"a\nb\u2028c"}`)
	f.Add(400, "ThrottlingException:http://internal/", `{"message":"Rate exceeded"}`)
	f.Add(400, "NotFoundException", `{`)
	f.Add(403, "UnrecognizedClientException", "")
	f.Add(503, "", "<html>\n\x00")

	body := provider.Body{Attributes: map[string]any{
		attrKeyID: someARN, attrEndpoint: "http://127.0.0.1:1",
		attrAccessKeyID: "AKIA", attrSecretAccessKey: provider.NewSecret([]byte("a secret of AWS")),
	}}
	who := credentials.NewStaticCredentialsProvider("AKIA", "a secret of AWS", "")
	f.Fuzz(func(t *testing.T, status int, errorType, text string) {
		m := open(t, body)
		m.pause = func(context.Context, time.Duration) error { return nil }
		// Clients that are made anew, after credentials were refused, reach nobody.
		m.clients = &clients{region: "eu-west-1", credentials: who, kms: kms.New(kms.Options{
			Region: "eu-west-1", HTTPClient: alwaysAnswers{status, errorType, text}, Retryer: aws.NopRetryer{}, Credentials: who,
		})}
		wantClosed := func(t *testing.T, err error) { wantClosed(t, err, 2000) }
		opened, err := m.Unwrap(t.Context(), []provider.UnwrapItem{
			{Wrapped: provider.Wrapped{KEKID: someARN, KEKVersion: someMaterial, Blob: []byte("a")}}, {Wrapped: provider.Wrapped{KEKID: someARN, Blob: []byte("b")}},
		})
		wantClosed(t, err)
		if err == nil && len(opened) != 2 {
			t.Errorf("%d results of 2", len(opened))
		}
		for _, r := range opened {
			wantClosed(t, r.Err)
			if r.Err == nil && (r.Plaintext.Len() != provider.RootSize || r.KEKID != someARN) {
				t.Errorf("a root of %d bytes by %q", r.Plaintext.Len(), r.KEKID)
			}
		}
		wrapped, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
		wantClosed(t, err)
		for _, r := range wrapped {
			wantClosed(t, r.Err)
			if r.Err == nil && (r.Wrapped.KEKID != someARN || len(r.Wrapped.Blob) == 0) {
				t.Errorf("the wrap %+v", r.Wrapped)
			}
		}
		described, err := m.DescribeKey(t.Context())
		wantClosed(t, err)
		if err == nil && described.KEKID != someARN {
			t.Errorf("the key %+v", described)
		}
		_, err = m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: described.PrimaryVersion})
		wantClosed(t, err)
	})
}

// alwaysAnswers is an HTTP client that says the same to everything.
type alwaysAnswers struct {
	status          int
	errorType, body string
}

// Do implements [aws.HTTPClient].
func (a alwaysAnswers) Do(req *http.Request) (*http.Response, error) {
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amzn-Errortype": {a.errorType}}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(strings.NewReader(a.body)), Request: req}, nil
}

// wantClosed holds an error to the contract: it is one of the closed set, and one line of
// bounded length.
func wantClosed(t *testing.T, err error, longest int) {
	t.Helper()
	if err == nil {
		return
	}
	e, ok := err.(*provider.Error) //nolint:errorlint // the contract's own
	if !ok {
		t.Errorf("the error is a %T: %v", err, err)
		return
	}
	if !slices.Contains(provider.Codes(), e.Code) {
		t.Errorf("the code %q: %v", e.Code, err)
	}
	if strings.ContainsAny(e.Message, "\n\r") || len(e.Message) > longest {
		t.Errorf("the text is not a line: %q", e.Message)
	}
}
