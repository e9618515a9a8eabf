package vaulttransit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// maxAnswer is far above what a batch of ours can be answered with.
const maxAnswer = 16 << 20

// newClient answers a client that speaks for one token; empty for none. Nothing of it
// comes from Vault's environment variables, which api.NewClient reads: they may be there
// for somebody's command line, and mean another Vault.
func newClient(s *settings, transport http.RoundTripper, token string) (*api.Client, error) {
	c, err := api.NewClient(&api.Config{
		Address: s.address,
		HttpClient: &http.Client{
			Transport: transport,
			// The client follows a standby's redirect by itself.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Timeout:    s.timeout,
		MaxRetries: 0,
		// The retries that are off say how an error arrives all the same.
		CheckRetry: func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	})
	if err != nil {
		return nil, configError(attrAddress, "Vault's client cannot be set up; is there a VAULT_… variable in its environment? %w", err)
	}
	c.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	c.ClearToken()
	if token != "" {
		c.SetToken(token)
	}
	if s.namespace != "" {
		c.SetNamespace(s.namespace)
	}
	return c, nil
}

// request is one request to Vault.
type request struct {
	method string
	path   string // below /v1/
	body   []byte // JSON; send wipes it
}

func get(path string) request { return request{method: http.MethodGet, path: path} }

func put(path string, body []byte) request {
	return request{method: http.MethodPut, path: path, body: body}
}

// String says what Vault's policies call it.
func (r request) String() string {
	if r.method == http.MethodGet {
		return "read " + r.path
	}
	return "update " + r.path
}

// answer is what came back, whatever its status.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte   // of a success, and of a batch that failed
	errors     []string // of a failure
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// says reports whether one of the errors holds a text.
func (a answer) says(text string) bool {
	for _, e := range a.errors {
		if strings.Contains(e, text) {
			return true
		}
	}
	return false
}

// send makes a request once. An error means that there is no answer; it is of the contract's kind.
func send(ctx context.Context, c *api.Client, s *settings, r request) (answer, error) {
	defer clear(r.body)
	req := c.NewRequest(r.method, "/v1/"+r.path)
	if r.body != nil {
		req.BodyBytes = r.body
		req.Obj = json.RawMessage(r.body) // what is sent again after a redirect
	}
	//nolint:staticcheck // Logical's WriteRaw sends "null" after a redirect, and its Write makes strings of secrets
	resp, err := c.RawRequestWithContext(ctx, req)
	if resp == nil {
		return answer{}, s.networkError(ctx, r, err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, retryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	failed, ok := errors.AsType[*api.ResponseError](err)
	if err != nil && !ok {
		return answer{}, s.networkError(ctx, r, err)
	}
	if a.body, err = readBody(resp.Body, resp.ContentLength); err != nil {
		return answer{}, s.networkError(ctx, r, err)
	}
	if failed != nil {
		for _, e := range failed.Errors {
			a.errors = append(a.errors, tidy(e))
		}
	}
	return a, nil
}

// readBody wipes each buffer that it outgrows: the answer may hold a root.
func readBody(r io.Reader, size int64) ([]byte, error) {
	buf := make([]byte, 0, min(max(size, 1<<10), maxAnswer)+1)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err == nil && len(buf) > maxAnswer:
			err = errors.New("the answer has no end")
		}
		if err != nil {
			clear(buf)
			return nil, err
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), 2*cap(buf))
			copy(grown, buf)
			clear(buf)
			buf = grown
		}
	}
}

// decode reads the body of a success, and wipes it.
func decode[T any](s *settings, r request, a answer) (T, error) {
	var out struct {
		Data T `json:"data"`
	}
	defer clear(a.body)
	if err := json.Unmarshal(a.body, &out); err != nil {
		return out.Data, notVault(s, r, a.status)
	}
	return out.Data, nil
}

// notVault is the error of an answer that no Vault gives; the body may be anything, and
// is not repeated.
func notVault(s *settings, r request, status int) error {
	return configError(attrAddress, "to %s, %s answers %d and something else than Vault's JSON: is that Vault?", r, s.host(), status)
}

func (s *settings) host() string {
	u, err := url.Parse(s.address)
	if err != nil {
		return s.address
	}
	return u.Host
}

// retryAfter reads the header in its two forms.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return time.Duration(max(0, seconds)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// tidy makes one line of the lists that Vault answers, and bounds what a proxy does.
func tidy(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	var parts []string
	for _, line := range lines {
		line = strings.TrimPrefix(strings.TrimSpace(line), "* ")
		if line != "" && !strings.HasSuffix(line, " occurred:") {
			parts = append(parts, strings.ToValidUTF8(line, "?"))
		}
	}
	joined := strings.Join(parts, "; ")
	if len(joined) > maxErrorText {
		joined = strings.ToValidUTF8(joined[:maxErrorText], "") + "…"
	}
	return joined
}

const maxErrorText = 400
