package vaulttransit

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// FuzzParseBlob: only what Vault writes is a wrap, and it reads back as it was.
func FuzzParseBlob(f *testing.F) {
	for _, seed := range []string{
		"vault:v1:YWJj", "vault:v12:YQ==", "vault:v0:YQ==", "vault:v01:YQ==", "vault:v+1:YQ==", "vault:v-1:YQ==", "vault:v1:", "vault:v1:YQ=\n=",
		"vault:v1:YR==", "vault:v99999999999:YQ==", "vault:v1", "", "vault:v1:YQ==\n", " vault:v1:YQ==",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, blob string) {
		version, err := parseBlob(blob)
		if err != nil {
			if provider.CodeOf(err) != provider.Integrity || version != 0 {
				t.Errorf("%q: %d, %v", blob, version, err)
			}
			return
		}
		payload, err := base64.StdEncoding.Strict().DecodeString(blob[strings.LastIndex(blob, ":")+1:])
		if err != nil {
			t.Fatal(err)
		}
		if again := fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(payload)); again != blob {
			t.Errorf("%q reads as %q", blob, again)
		}
	})
}

// FuzzAnswer: whatever a server answers, there is a result for each item, or one error of
// the closed set whose text is one line.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"data":{"batch_results":[{"plaintext":"YQ=="},{"error":"x"}]}}`)
	f.Add(400, `{"errors":["cipher: message authentication failed"]}`)
	f.Add(400, `{"data":{"batch_results":[{"error":"a"},{"error":"b"}]}}`)
	f.Add(403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)
	f.Add(503, "<html>\n\x00")
	f.Add(200, `{"data":{"type":"aes256-gcm96","latest_version":1}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		s := newScript().on("PUT transit/decrypt/kek", says(status, body))
		settings, err := newSettings(block(nil))
		if err != nil {
			t.Fatal(err)
		}
		m, err := newManager(settings, s)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.Close() }()
		results, err := m.Unwrap(t.Context(), []provider.UnwrapItem{{Wrapped: wrapOf(1, "a")}, {Wrapped: wrapOf(2, "b")}})
		if err == nil && len(results) != 2 {
			t.Errorf("%d results of 2", len(results))
		}
		for _, r := range results {
			if r.Err == nil && r.Plaintext.Len() != provider.RootSize {
				t.Errorf("a root of %d bytes", r.Plaintext.Len())
			}
			wantOneLine(t, r.Err)
		}
		wantOneLine(t, err)
	})
}

func wantOneLine(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if _, ok := err.(*provider.Error); !ok { //nolint:errorlint // the contract's own
		t.Errorf("the error is a %T: %v", err, err)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("the text has lines: %q", err)
	}
}
