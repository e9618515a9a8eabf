package awskms

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
)

// published lists the exceptions of AWS KMS, which are the types with an ErrorCode method
// in the SDK's package of types.
func published(t *testing.T) []string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/kms/types").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "errors.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv == nil || f.Name.Name != "ErrorCode" {
			continue
		}
		if star, ok := f.Recv.List[0].Type.(*ast.StarExpr); ok {
			names = append(names, star.X.(*ast.Ident).Name)
		}
	}
	if len(names) < 48 {
		t.Fatalf("the SDK has %d exceptions", len(names))
	}
	return names
}

// script answers every request the same way.
func script(t *testing.T, status int, body string, header ...string) (*lab, *manager) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	l := newLab(t, awskmsfake.Config{})
	return l, l.open(l.key(), map[string]any{attrEndpoint: server.URL})
}

func exception(code string) string {
	body, err := json.Marshal(map[string]string{"__type": "com.amazonaws.kms#" + code, "message": "what AWS says"})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// TestEveryPublishedError: each has a code, as the wire brings it, and a place in the page.
func TestEveryPublishedError(t *testing.T) {
	names := published(t)
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Errors of AWS\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string]string{}
	for line := range strings.SplitSeq(section, "\n") {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			for name := range strings.SplitSeq(cells[2], ",") {
				rows[strings.Trim(name, " `")] = strings.Trim(cells[1], " `")
			}
		}
	}
	all := rules()
	for _, name := range names {
		if _, ok := all[name]; !ok {
			t.Errorf("AWS publishes %s, of which nothing is said here", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		want := all[name]
		_, m := script(t, http.StatusBadRequest, exception(name))
		_, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
		wantError(t, name, err, want.code, want.attribute, name, "kms:GenerateDataKey", "what AWS says")
		if rows[name] != string(want.code) {
			t.Errorf("%s is %s, and the page has it as %q", name, want.code, rows[name])
		}
		if !slices.Contains(provider.Codes(), want.code) {
			t.Errorf("%s has the code %q, which is none", name, want.code)
		}
	}
	for name := range rows {
		if _, ok := all[name]; !ok && strings.Contains(name, "Exception") {
			t.Errorf("the page has %s, and the table has not", name)
		}
	}
}

// TestLimitExceededIsNoThrottling: the SDK's own retryer takes it for that and would wait.
func TestLimitExceededIsNoThrottling(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	for range 25 {
		if _, err := l.admin.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: &arn}); err != nil {
			t.Fatal(err)
		}
	}
	m := l.open(arn, nil)
	version := primary(t, m)
	l.Forget()
	_, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: version})
	wantError(t, "the 26th rotation", err, provider.LimitExceeded, "", "25 times", "key migrate")
	if got := l.counts()["RotateKeyOnDemand"]; got != 1 || provider.Transient(err) {
		t.Errorf("it was asked for %d times, transient %t", got, provider.Transient(err))
	}
}

func TestErrorsWithoutAName(t *testing.T) {
	for name, c := range map[string]struct {
		status    int
		body      string
		code      provider.Code
		attribute string
		says      string
	}{
		"unknown":           {400, exception("SomethingNewException"), provider.InvalidArgument, "", "SomethingNewException"},
		"unknown, 500":      {500, exception("SomethingNewException"), provider.Unavailable, "", "SomethingNewException"},
		"a proxy":           {502, "<html>Bad Gateway</html>", provider.Unavailable, "", ""},
		"a proxy's login":   {407, "", provider.Unauthenticated, "", "proxy"},
		"too many":          {429, "", provider.Throttled, "", ""},
		"forbidden":         {403, "", provider.Denied, "", ""},
		"another server":    {404, "not here", provider.InvalidConfig, attrEndpoint, "is that AWS?"},
		"a web page":        {200, "<html>", provider.InvalidConfig, attrEndpoint, "is it that?"},
		"too large":         {413, "", provider.LimitExceeded, "", ""},
		"another key":       {200, `{"KeyId":"arn:aws:kms:eu-west-1:111122223333:key/other","CiphertextBlob":"AAAA","Plaintext":"AAAA"}`, provider.Integrity, "", "other"},
		"nothing":           {200, `{}`, provider.Integrity, "", ""},
		"a multi-line text": {400, `{"__type":"ValidationException","message":"one\ntwo\u0007"}`, provider.InvalidArgument, "", "one two"},
	} {
		_, m := script(t, c.status, c.body)
		_, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
		wantError(t, name, err, c.code, c.attribute, c.says)
	}
	_, m := script(t, 503, "", "Retry-After", "7")
	_, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
	if e, ok := err.(*provider.Error); !ok || e.RetryAfter != 7*time.Second { //nolint:errorlint // the contract's own
		t.Errorf("a Retry-After of 7 s becomes %+v", err)
	}
}

func TestNoAnswer(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	var lc net.ListenConfig
	nobody, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := nobody.Addr().String()
	m := l.open(arn, map[string]any{attrEndpoint: "http://" + silent, attrTimeout: "50ms"})
	wantError(t, "silence", describe(t.Context(), m), provider.Unavailable, "", "did not answer in time", "timeout")
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, "nobody", describe(t.Context(), m), provider.Unavailable, "", "gives no answer")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "nobody waits", describe(ctx, m), provider.Unavailable, "")
	_ = m.Close()
	wantError(t, "closed", describe(t.Context(), m), provider.NotFoundInstance, "")

	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	m = l.open(arn, map[string]any{attrEndpoint: tls.URL})
	wantError(t, "a certificate that nobody signed", describe(t.Context(), m), provider.InvalidConfig, attrEndpoint, "SSL_CERT_FILE")
	m = l.open(arn, map[string]any{attrEndpoint: "https" + strings.TrimPrefix(l.URL, "http")})
	wantError(t, "TLS to a plain server", describe(t.Context(), m), provider.InvalidConfig, attrEndpoint)
}

func describe(ctx context.Context, m *manager) error {
	_, err := m.DescribeKey(ctx)
	return err
}

func TestTidy(t *testing.T) {
	for text, want := range map[string]string{
		"a\r\n b": "a   b", "\x1b[31mred": "[31mred", "": "", strings.Repeat("x", maxErrorText+1): strings.Repeat("x", maxErrorText) + "…",
	} {
		if got := tidy(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
