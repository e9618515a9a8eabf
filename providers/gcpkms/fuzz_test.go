package gcpkms

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyrotor/keyrotor/core/provider"
)

// FuzzBlob: what is read is what was written, and nothing else.
func FuzzBlob(f *testing.F) {
	f.Add([]byte("v1:\x0a\x24ciphertext"))
	f.Add([]byte("v:"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		version, ciphertext, err := parseBlob(blob)
		if err == nil && !bytes.Equal(newBlob(version, ciphertext), blob) {
			t.Errorf("%q reads as version %q and %q", blob, version, ciphertext)
		}
	})
}

// FuzzNames: a key's name in the block, and a version's name in an answer of Cloud KMS, are
// written again as they were read.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		testKey, testKey + "/cryptoKeyVersions/1", testKey + "/cryptoKeyVersions/01", testKey + "/cryptoKeyVersions/", testKey + "2/cryptoKeyVersions/1",
		"projects/example.com:shop/locations/global/keyRings/r/cryptoKeys/k", "projects/1234/locations/eu/keyRings/r/cryptoKeys/k\n", "projects/p", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		k, err := parseKeyPath(name)
		if err != nil {
			wantClosed(t, err, 600+4*len(name)) // it is quoted
			wantError(t, name, err, provider.InvalidConfig, attrKey)
		} else if k.String() != name || len(strings.Split(name, "/")) != 8 || len(strings.Fields(name)) != 1 {
			t.Errorf("%q reads as %+v", name, k)
		}
		key := mustParse(t)
		version, err := (&manager{settings: settings{key: key}}).versionOf(name)
		if err != nil {
			wantClosed(t, err, 600+4*len(name)) // it is quoted
			wantError(t, name, err, provider.Integrity, "")
		} else if key.version(version) != name || versionNumber(version) < 1 {
			t.Errorf("%q is version %q", name, version)
		}
	})
}

// FuzzFailure: whatever Cloud KMS answers, the error is one of the closed set, and one line.
func FuzzFailure(f *testing.F) {
	f.Add(uint32(codes.InvalidArgument), "Decryption failed:\nthe ciphertext is invalid", "", uint8(0), int64(0))
	f.Add(uint32(codes.FailedPrecondition), testKey+" is not enabled, current state is: DESTROYED.", "KEY_DESTROYED", uint8(1), int64(0))
	f.Add(uint32(codes.ResourceExhausted), "Quota exceeded", "RATE_LIMIT_EXCEEDED", uint8(2), int64(-5))
	f.Add(uint32(codes.PermissionDenied), "\xff\u2028", "SERVICE_DISABLED", uint8(3), int64(1<<62))
	f.Add(uint32(99), "", "", uint8(4), int64(1))
	f.Fuzz(func(t *testing.T, code uint32, message, reason string, what uint8, after int64) {
		if codes.Code(code) == codes.OK {
			return
		}
		s := status.New(codes.Code(code), message)
		if with, err := s.WithDetails(&errdetails.ErrorInfo{Reason: reason}, &errdetails.RetryInfo{RetryDelay: &durationpb.Duration{Seconds: after}}); err == nil {
			s = with
		}
		m := &manager{settings: settings{key: mustParse(t), endpoint: defaultEndpoint}}
		methods := []method{methodEncrypt, methodDecrypt, methodGetKey, methodCreateKey, methodGetVersion}
		wantClosed(t, m.failure(methods[int(what)%len(methods)], testKey, s.Err()), 2000)
	})
}

// FuzzTokenAnswer: whatever a token service answers, with a body or in the text of Google's
// library, the error is one of the closed set, and one line.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(400, []byte(`{"error":"invalid_grant","error_description":"Token has been expired\nor revoked."}`))
	f.Add(403, []byte(`{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.getAccessToken' denied"}}`))
	f.Add(429, []byte(`{"error":[1]}`))
	f.Add(503, []byte("<html>\n\x00"))
	f.Fuzz(func(t *testing.T, answered int, content []byte) {
		tokens := &tokens{settings: &settings{impersonate: "a@p.iam.gserviceaccount.com"}}
		e := &auth.Error{Response: &http.Response{StatusCode: answered}, Body: content}
		wantClosed(t, tokens.failure(t.Context(), e), 2000)
		wantClosed(t, tokens.failure(t.Context(), errorText("status code 403: "+string(content))), 2000)
	})
}

type errorText string

func (e errorText) Error() string { return string(e) }

// FuzzCredentials: a file of credentials is taken, or refused without a word of what stands
// in it.
func FuzzCredentials(f *testing.F) {
	for _, seed := range []string{
		`{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\nsecretsecret\n-----END PRIVATE KEY-----","private_key_id":"1"}`,
		`{"type":"authorized_user","client_id":"c","client_secret":"secretsecret","refresh_token":"r"}`,
		`{"type":"external_account","audience":"a","subject_token_type":"t","token_url":"https://sts.googleapis.com/v1/token","credential_source":{"file":"/nowhere"}}`,
		`{"type":"impersonated_service_account","service_account_impersonation_url":"https://x/serviceAccounts/a@b:generateAccessToken","source_credentials":{"type":"authorized_user"}}`,
		`{"type":"gdch_service_account"}`, `{"type":1}`, `secretsecret`, ``,
	} {
		f.Add([]byte(seed))
	}
	file := filepath.Join(f.TempDir(), "credentials.json")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := newTokens(&settings{credentialsFile: file, timeout: time.Second}, nil).load()
		if err == nil {
			return
		}
		wantClosed(t, err, 2000)
		wantError(t, "a file", err, provider.InvalidConfig, attrCredentialsFile)
		if strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("the error holds a piece of the file: %v", err)
		}
	})
}

// wantClosed holds an error to the contract: it is one of the closed set, and one line of
// bounded length.
func wantClosed(t *testing.T, err error, longest int) {
	t.Helper()
	e, ok := err.(*provider.Error) //nolint:errorlint // the contract's own
	switch {
	case !ok:
		t.Errorf("the error is a %T: %v", err, err)
	case !slices.Contains(provider.Codes(), e.Code) || e.RetryAfter < 0:
		t.Errorf("the code %q, to be tried again after %s: %v", e.Code, e.RetryAfter, err)
	case strings.ContainsAny(e.Message, "\n\r") || len(e.Message) > longest:
		t.Errorf("the text is not a line: %q", e.Message)
	}
}
