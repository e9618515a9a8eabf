package gcpkms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/credentials/impersonate"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/secretfile"
)

const (
	// scope is the least that a token for Cloud KMS needs.
	scope = "https://www.googleapis.com/auth/cloudkms"
	// platformScope is what acting as somebody else needs.
	platformScope = "https://www.googleapis.com/auth/cloud-platform"
	// maxCredentials has room for any file that Google writes.
	maxCredentials = 64 << 10
)

// tokens are the access tokens of an instance.
type tokens struct {
	*settings
	// loading holds a token while nobody loads the credentials: that may take seconds, and
	// whoever waits can be gone before.
	loading chan struct{}
	loaded  *loaded
	other   http.RoundTripper // nil but in a test
}

// loaded are credentials, and what they were made from.
type loaded struct {
	creds *auth.Credentials
	stamp string
	name  string
}

func newTokens(s *settings, other http.RoundTripper) *tokens {
	t := &tokens{settings: s, loading: make(chan struct{}, 1), other: other}
	t.loading <- struct{}{}
	return t
}

// headers are what a request needs besides its own.
func (t *tokens) headers(ctx context.Context) ([]string, error) {
	l, err := t.current(ctx)
	if err != nil {
		return nil, err
	}
	token, err := l.creds.Token(ctx)
	if err != nil {
		return nil, t.failure(ctx, err)
	}
	headers := []string{"authorization", "Bearer " + token.Value}
	// A user's quota is that of a project which the credentials name.
	if project, err := l.creds.QuotaProjectID(ctx); err == nil && project != "" {
		headers = append(headers, "x-goog-user-project", project)
	}
	return headers, nil
}

// current loads the credentials at first, and again when their file changed.
func (t *tokens) current(ctx context.Context) (*loaded, error) {
	select {
	case <-t.loading:
		defer func() { t.loading <- struct{}{} }()
	case <-ctx.Done():
		return nil, provider.Errorf(provider.Unavailable, "waiting for credentials: %w", ctx.Err())
	}
	stamp := stampOf(t.credentialsFile)
	if t.loaded != nil && t.loaded.stamp == stamp {
		return t.loaded, nil
	}
	l, err := t.load()
	if err != nil {
		return nil, err
	}
	l.stamp = stamp
	t.loaded = l
	return l, nil
}

// identity is what the credentials say of themselves, empty if they say nothing.
func (t *tokens) identity() string {
	<-t.loading
	defer func() { t.loading <- struct{}{} }()
	if t.loaded == nil {
		return ""
	}
	return t.loaded.name
}

// forget has the credentials loaded anew: Cloud KMS does not take what they gave.
func (t *tokens) forget() {
	<-t.loading
	defer func() { t.loading <- struct{}{} }()
	t.loaded = nil
}

// stampOf tells a file from what stood there before, links followed.
func stampOf(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return "?"
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

func (t *tokens) load() (*loaded, error) {
	opts := &credentials.DetectOptions{
		Scopes: []string{scope},
		// A service account's own signature is a token: nobody has to be asked for one.
		UseSelfSignedJWT: true,
		Client:           t.client(nil),
		Logger:           slog.New(slog.DiscardHandler), // it would log tokens
	}
	if t.impersonate != "" {
		opts.Scopes = []string{platformScope}
	}
	base, err := t.base(opts)
	if err != nil {
		return nil, err
	}
	if t.impersonate == "" {
		return &loaded{creds: base, name: nameIn(base.JSON())}, nil
	}
	creds, err := impersonate.NewCredentials(&impersonate.CredentialsOptions{
		TargetPrincipal: t.impersonate, Delegates: t.delegates, Scopes: []string{scope},
		Credentials: base, Client: t.client(base), Logger: opts.Logger,
	})
	if err != nil {
		return nil, configError(attrImpersonate, "%w", err)
	}
	return &loaded{creds: creds, name: t.impersonate}, nil
}

// base are the credentials that the block names, or Google's default ones.
func (t *tokens) base(opts *credentials.DetectOptions) (*auth.Credentials, error) {
	if t.credentialsFile == "" {
		creds, err := credentials.DetectDefault(opts)
		if err != nil {
			return nil, provider.Errorf(provider.Unauthenticated, "there are no default credentials of Google's: set %s; or run where a service account "+
				"is attached; or name GOOGLE_APPLICATION_CREDENTIALS, or HOME for gcloud's, under environment in the plugins block: %s", attrCredentialsFile, tidy(err.Error()))
		}
		return creds, nil
	}
	content, err := secretfile.Read(t.credentialsFile, "credentials", maxCredentials)
	if err != nil {
		return nil, configError(attrCredentialsFile, "%w", err)
	}
	var file struct {
		Type credentials.CredType `json:"type"`
	}
	known := []credentials.CredType{
		credentials.ServiceAccount, credentials.AuthorizedUser, credentials.ExternalAccount,
		credentials.ExternalAccountAuthorizedUser, credentials.ImpersonatedServiceAccount,
	}
	// What JSON says of a syntax error may hold a piece of the file.
	if json.Unmarshal(content.Reveal(), &file) != nil || !slices.Contains(known, file.Type) {
		content.Wipe()
		return nil, configError(attrCredentialsFile, "%s holds no credentials of Google's: it is JSON with a \"type\" such as service_account, "+
			"authorized_user or external_account", t.credentialsFile)
	}
	creds, err := credentials.NewCredentialsFromJSON(file.Type, content.Reveal(), opts)
	if err != nil {
		return nil, configError(attrCredentialsFile, "%s holds credentials of the type %s that cannot be used: a field is missing or wrong", t.credentialsFile, file.Type)
	}
	return creds, nil // the content is theirs now
}

// nameIn is who a file of credentials is for.
func nameIn(content []byte) string {
	var file struct {
		Email         string `json:"client_email"`
		Impersonation string `json:"service_account_impersonation_url"`
	}
	if json.Unmarshal(content, &file) != nil {
		return ""
	}
	if _, account, ok := strings.Cut(file.Impersonation, "/serviceAccounts/"); ok {
		return strings.TrimSuffix(account, ":generateAccessToken")
	}
	return file.Email
}

// client speaks to Google's token services, as somebody if there is a somebody.
func (t *tokens) client(as *auth.Credentials) *http.Client {
	next := t.other
	if next == nil {
		next = http.DefaultTransport
	}
	if as != nil {
		next = bearer{as, next}
	}
	return &http.Client{Transport: next, Timeout: t.timeout}
}

// bearer adds a token to each request.
type bearer struct {
	creds *auth.Credentials
	next  http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := b.creds.Token(req.Context())
	if err != nil {
		return nil, err //nolint:wrapcheck // failure looks for its kind
	}
	out := req.Clone(req.Context())
	out.Header.Set("Authorization", "Bearer "+token.Value)
	return b.next.RoundTrip(out) //nolint:wrapcheck // it is one itself
}

// statusIn finds the status of an answer in texts of Google's library, which has no other
// place for it in most of its errors.
var statusIn = regexp.MustCompile(`status code:? (\d{3})`)

// failure makes an error of the contract of a token that did not come. Its text has nothing
// of the answer but OAuth's error and description, since nobody knows what else is in there.
func (t *tokens) failure(ctx context.Context, err error) error {
	status, text := 0, ""
	if e, ok := errors.AsType[*auth.Error](err); ok && e.Response != nil {
		status, text = e.Response.StatusCode, oauthText(e.Body)
	} else if m := statusIn.FindStringSubmatch(err.Error()); m != nil {
		status, _ = strconv.Atoi(m[1])
		_, body, _ := strings.Cut(err.Error(), m[0]+": ")
		text = oauthText([]byte(body))
	}
	who := "Google's token service"
	if text != "" {
		text = ": " + text
	}
	switch {
	case ctx.Err() != nil:
		return provider.Errorf(provider.Unavailable, "%s did not answer in time: %w", who, ctx.Err())
	case status == http.StatusTooManyRequests:
		return provider.Errorf(provider.Throttled, "%s answers %d%s", who, status, text)
	case status == http.StatusRequestTimeout || status >= http.StatusInternalServerError:
		return provider.Errorf(provider.Unavailable, "%s answers %d%s", who, status, text)
	case status == http.StatusForbidden && t.impersonate != "":
		return provider.Errorf(provider.Denied, "acting as %s is not allowed%s: grant roles/iam.serviceAccountTokenCreator on it to the credentials' own identity", t.impersonate, text)
	case status == http.StatusNotFound && t.impersonate != "":
		return configError(attrImpersonate, "there is no service account %s%s", t.impersonate, text)
	case status != 0:
		return provider.Errorf(provider.Unauthenticated, "Google does not take the credentials, %s answers %d%s: they are wrong, expired or revoked", who, status, text)
	case isNetwork(err):
		return provider.Errorf(provider.Unavailable, "%s cannot be reached: %s", who, tidy(networkText(err)))
	default:
		return provider.Errorf(provider.Unauthenticated, "the credentials give no token: correct %s, or what it names", attrCredentialsFile)
	}
}

// oauthText is what an answer says of an error, in OAuth's form or in that of Google's APIs.
func oauthText(body []byte) string {
	var oauth struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &oauth) != nil {
		return ""
	}
	var code string
	var api struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(oauth.Error, &code) == nil {
		return tidy(strings.TrimSuffix(code+", "+oauth.Description, ", "))
	}
	_ = json.Unmarshal(oauth.Error, &api) // none is as good as another form
	return tidy(api.Message)
}
