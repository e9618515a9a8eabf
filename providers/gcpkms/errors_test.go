package gcpkms

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyrotor/keyrotor/core/provider"
)

const testKey = "projects/my-project/locations/europe-west1/keyRings/payments/cryptoKeys/kek"

// TestEveryGRPCCode: each code that there is has one of the closed set, whatever the text.
func TestEveryGRPCCode(t *testing.T) {
	want := map[codes.Code]provider.Code{
		codes.Canceled:           provider.Unavailable,
		codes.Unknown:            provider.Unavailable,
		codes.InvalidArgument:    provider.InvalidArgument,
		codes.DeadlineExceeded:   provider.Unavailable,
		codes.NotFound:           provider.NotFoundKey,
		codes.AlreadyExists:      provider.AlreadyExists,
		codes.PermissionDenied:   provider.Denied,
		codes.ResourceExhausted:  provider.Throttled,
		codes.FailedPrecondition: provider.InvalidState,
		codes.Aborted:            provider.Unavailable,
		codes.OutOfRange:         provider.InvalidArgument,
		codes.Unimplemented:      provider.InvalidConfig,
		codes.Internal:           provider.Unavailable,
		codes.Unavailable:        provider.Unavailable,
		codes.DataLoss:           provider.Integrity,
		codes.Unauthenticated:    provider.Unauthenticated,
	}
	if len(want) != 16 {
		t.Fatal("gRPC has 16 codes besides OK")
	}
	page := errorTable(t)
	for c, code := range want {
		attribute := ""
		if c == codes.Unimplemented {
			attribute = attrEndpoint
		}
		m := &manager{settings: settings{key: mustParse(t), endpoint: defaultEndpoint}}
		wantError(t, c.String(), m.failure(methodGetKey, testKey, status.Error(c, "what happened")), code, attribute)
		if documented := page[c.String()]; len(documented) == 0 || documented[0] != string(code) {
			t.Errorf("the page says of %s: %q, not %s", c, documented, code)
		}
	}
	if len(page) != len(want) {
		t.Errorf("the page has %d codes of gRPC: %v", len(page), page)
	}
}

// errorTable reads from the page which codes of ours a code of gRPC's may become.
func errorTable(t *testing.T) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(content), "\n## Errors of Cloud KMS\n")
	section, _, _ = strings.Cut(section, "\n## ")
	table := map[string][]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.Contains(cells[3], "`") {
			continue
		}
		for _, grpcCode := range quoted(cells[1]) {
			table[grpcCode] = append(table[grpcCode], quoted(cells[3])...)
		}
	}
	return table
}

// quoted are the words between back quotes.
func quoted(cell string) (words []string) {
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			words = append(words, part)
		}
	}
	return words
}

func mustParse(t *testing.T) keyPath {
	t.Helper()
	k, err := parseKeyPath(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestDocumentedErrors holds what Cloud KMS and Google's front end document, in their
// words, to its code.
func TestDocumentedErrors(t *testing.T) {
	because := func(reason string) protoadapt.MessageV1 {
		return &errdetails.ErrorInfo{Reason: reason, Domain: "googleapis.com"}
	}
	version := testKey + "/cryptoKeyVersions/1"
	page := errorTable(t)
	for name, c := range map[string]struct {
		on        method
		code      codes.Code
		text      string
		detail    protoadapt.MessageV1
		want      provider.Code
		attribute string
		says      string
	}{
		"disabled":             {methodDecrypt, codes.FailedPrecondition, version + " is not enabled, current state is: DISABLED.", nil, provider.InvalidState, "", "enable the version"},
		"to be destroyed":      {methodDecrypt, codes.FailedPrecondition, version + " is not enabled, current state is: DESTROY_SCHEDULED.", nil, provider.InvalidState, "", "while there is time"},
		"destroyed":            {methodDecrypt, codes.FailedPrecondition, version + " is not enabled, current state is: DESTROYED.", nil, provider.InvalidState, "", "nothing opens"},
		"not generated":        {methodEncrypt, codes.FailedPrecondition, version + " is not enabled, current state is: PENDING_GENERATION.", nil, provider.InvalidState, "", "in a moment"},
		"external key manager": {methodDecrypt, codes.FailedPrecondition, "The external key manager denied the request.", nil, provider.InvalidState, "", "external key manager"},
		"external unreachable": {methodDecrypt, codes.Unavailable, "The external key manager could not be reached.", nil, provider.Unavailable, "", "could not be reached"},
		"altered":              {methodDecrypt, codes.InvalidArgument, "Decryption failed: the ciphertext is invalid.", nil, provider.Integrity, "", "altered"},
		"another key or AAD":   {methodDecrypt, codes.InvalidArgument, "Decryption failed: verify that 'name' refers to the correct CryptoKey.", nil, provider.Integrity, "", "bound to something else"},
		"checksum":             {methodEncrypt, codes.InvalidArgument, "The checksum in field plaintext_crc32c did not match the data in field plaintext.", nil, provider.Integrity, "", "on its way"},
		"too long":             {methodEncrypt, codes.InvalidArgument, "plaintext is too long", nil, provider.InvalidArgument, "", "too long"},
		"no key":               {methodGetKey, codes.NotFound, "CryptoKey " + testKey + " not found.", nil, provider.NotFoundKey, "", "kek create"},
		"no key to encrypt":    {methodEncrypt, codes.NotFound, "CryptoKey " + testKey + " not found.", nil, provider.NotFoundKey, "", "kek create"},
		"no version":           {methodGetVersion, codes.NotFound, "CryptoKeyVersion " + version + " not found.", nil, provider.NotFoundVersion, "", version},
		"no version to change": {methodUpdateVersion, codes.NotFound, "CryptoKeyVersion " + version + " not found.", nil, provider.NotFoundVersion, "", version},
		"no key ring":          {methodCreateKey, codes.NotFound, "KeyRing not found.", nil, provider.InvalidConfig, attrKey, "keyrings create"},
		"exists":               {methodCreateKey, codes.AlreadyExists, "CryptoKey " + testKey + " already exists.", nil, provider.AlreadyExists, "", "already exists"},
		"no right":             {methodEncrypt, codes.PermissionDenied, "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource '" + testKey + "' (or it may not exist).", because("IAM_PERMISSION_DENIED"), provider.Denied, "", "lacks cloudkms.cryptoKeyVersions.useToEncrypt"},
		"no justification":     {methodDecrypt, codes.PermissionDenied, "Request denied by the key's access justifications policy.", nil, provider.Denied, "", "justifications"},
		"API off":              {methodGetKey, codes.PermissionDenied, "Cloud Key Management Service (KMS) API has not been used in project 1 before or it is disabled.", because("SERVICE_DISABLED"), provider.Denied, "", "services enable"},
		"API off, once":        {methodGetKey, codes.FailedPrecondition, "Google Cloud KMS API has not been used in this project before, or it is disabled.", nil, provider.Denied, "", "services enable"},
		"no billing":           {methodGetKey, codes.PermissionDenied, "This API method requires billing to be enabled.", because("BILLING_DISABLED"), provider.Denied, "", "billing account"},
		"scope":                {methodGetKey, codes.PermissionDenied, "Request had insufficient authentication scopes.", because("ACCESS_TOKEN_SCOPE_INSUFFICIENT"), provider.Denied, "", "scope"},
		"perimeter":            {methodGetKey, codes.PermissionDenied, "Request is prohibited by organization's policy.", because("SECURITY_POLICY_VIOLATED"), provider.Denied, "", "perimeter"},
		"quota project":        {methodGetKey, codes.PermissionDenied, "Caller does not have required permission to use project 1.", because("USER_PROJECT_DENIED"), provider.Denied, "", "quota project"},
		"token expired":        {methodGetKey, codes.Unauthenticated, "Request had invalid authentication credentials.", because("ACCESS_TOKEN_EXPIRED"), provider.Unauthenticated, "", "credentials_file"},
		"no token":             {methodGetKey, codes.Unauthenticated, "Request is missing required authentication credential.", because("CREDENTIALS_MISSING"), provider.Unauthenticated, "", "credentials_file"},
		"quota":                {methodCreateVersion, codes.ResourceExhausted, "Quota exceeded for quota metric 'Write requests'", because("RATE_LIMIT_EXCEEDED"), provider.Throttled, "", "Quotas"},
		"limit":                {methodCreateVersion, codes.ResourceExhausted, "The limit of resources is reached", because("RESOURCE_QUOTA_EXCEEDED"), provider.LimitExceeded, "", "higher limit"},
		"an answer too long":   {methodGetKey, codes.ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)", nil, provider.Internal, "", "larger than max"},
		"authority":            {methodGetKey, codes.Unavailable, "connection error: desc = \"transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority\"", nil, provider.InvalidConfig, attrCAFile, "not signed"},
		"another name":         {methodGetKey, codes.Unavailable, "tls: failed to verify certificate: x509: certificate is valid for a.example, not b.example", nil, provider.InvalidConfig, attrEndpoint, "another name"},
		"no TLS":               {methodGetKey, codes.Unavailable, "tls: first record does not look like a TLS handshake", nil, provider.InvalidConfig, attrEndpoint, "does not speak TLS"},
	} {
		st := status.New(c.code, c.text)
		if c.detail != nil {
			var err error
			if st, err = st.WithDetails(c.detail); err != nil {
				t.Fatal(err)
			}
		}
		m := &manager{settings: settings{key: mustParse(t), endpoint: defaultEndpoint}}
		wantError(t, name, m.failure(c.on, testKey, st.Err()), c.want, c.attribute, c.says)
		if !slices.Contains(page[c.code.String()], string(c.want)) {
			t.Errorf("%s: the page says of %s: %q, not %s", name, c.code, page[c.code.String()], c.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	m := &manager{settings: settings{key: mustParse(t)}}
	for c, want := range map[codes.Code]time.Duration{codes.ResourceExhausted: 7 * time.Second, codes.Unavailable: 7 * time.Second, codes.PermissionDenied: 0} {
		st, err := status.New(c, "what happened").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		if e, _ := errors.AsType[*provider.Error](m.failure(methodEncrypt, testKey, st.Err())); e.RetryAfter != want {
			t.Errorf("%s: retry after %s, want %s", c, e.RetryAfter, want)
		}
	}
}

func TestContextErrors(t *testing.T) {
	m := &manager{settings: settings{key: mustParse(t)}}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		wantError(t, err.Error(), m.failure(methodEncrypt, testKey, err), provider.Unavailable, "")
	}
}

func TestTidy(t *testing.T) {
	for text, want := range map[string]string{
		"one\n\ttwo\r\n": "one two", "\xff": "?", "": "",
		strings.Repeat("x", maxErrorText) + "y": strings.Repeat("x", maxErrorText) + "…",
	} {
		if got := tidy(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
