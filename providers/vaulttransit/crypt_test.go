package vaulttransit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

func wrapOf(version int, payload string) provider.Wrapped {
	return provider.Wrapped{
		KEKID: testKEK, KEKVersion: fmt.Sprint(version),
		Blob: fmt.Appendf(nil, "vault:v%d:%s", version, base64.StdEncoding.EncodeToString([]byte(payload))),
	}
}

func rootText() string { return base64.StdEncoding.EncodeToString(root().Reveal()) }

// TestBindingContext pins what every wrap is bound to.
func TestBindingContext(t *testing.T) {
	for aad, want := range map[string]string{"": "keyrotor/vault-transit/v1:", "\x00k": "keyrotor/vault-transit/v1:\x00k"} {
		if got := string(bindingContext([]byte(aad))); got != want {
			t.Errorf("%q is bound by %q, want %q", aad, got, want)
		}
	}
}

func TestGenerateDataKey(t *testing.T) {
	s := newScript().on("PUT transit/datakey/plaintext/kek",
		says(200, `{"data":{"ciphertext":"vault:v2:YWJj","key_version":2,"plaintext":"`+rootText()+`"}}`))
	m := open(t, s, block(nil))
	res, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{AAD: []byte("aad")})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Plaintext.Equal(root()) || res.Wrapped.KEKID != testKEK || res.Wrapped.KEKVersion != "2" || string(res.Wrapped.Blob) != "vault:v2:YWJj" {
		t.Errorf("got %+v", res)
	}
	want := map[string]any{"bits": 256.0, "context": base64.StdEncoding.EncodeToString(bindingContext([]byte("aad")))}
	if got := s.body(t, "PUT transit/datakey/plaintext/kek"); !reflect.DeepEqual(got, want) {
		t.Errorf("it sends %v, want %v", got, want)
	}
}

func TestGenerateDataKeyIsHeldToItsAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		code provider.Code
	}{
		"a short root":  {`{"ciphertext":"vault:v2:YWJj","plaintext":"c2hvcnQ="}`, provider.Integrity},
		"no root":       {`{"ciphertext":"vault:v2:YWJj"}`, provider.Integrity},
		"no ciphertext": {`{"plaintext":"` + rootText() + `"}`, provider.Internal},
		"another form":  {`{"ciphertext":"other:v2:YWJj","plaintext":"` + rootText() + `"}`, provider.Internal},
	} {
		s := newScript().on("PUT transit/datakey/plaintext/kek", says(200, `{"data":`+c.data+`}`))
		_, err := open(t, s, block(nil)).GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
		wantError(t, name, err, c.code, "")
	}
}

// TestWrapSendsABatch pins the request, and that it can make no key.
func TestWrapSendsABatch(t *testing.T) {
	s := newScript().on("PUT transit/encrypt/kek", says(200, `{"data":{"batch_results":[{"ciphertext":"vault:v2:YWJj","key_version":2}]}}`))
	m := open(t, s, block(nil))
	results, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: provider.NewSecret([]byte("short"))}, {Plaintext: root(), AAD: []byte("aad")}})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "short", results[0].Err, provider.InvalidArgument, "")
	if results[1].Err != nil || string(results[1].Wrapped.Blob) != "vault:v2:YWJj" || results[1].Wrapped.KEKVersion != "2" {
		t.Errorf("got %+v", results[1])
	}
	want := map[string]any{
		"type": noType, "partial_failure_response_code": 200.0,
		"batch_input": []any{map[string]any{
			"plaintext": rootText(), "context": base64.StdEncoding.EncodeToString(bindingContext([]byte("aad"))),
		}},
	}
	if got := s.body(t, "PUT transit/encrypt/kek"); !reflect.DeepEqual(got, want) {
		t.Errorf("it sends %v, want %v", got, want)
	}
	wantCalls(t, "one wrap", s.made(), "PUT auth/approle/login", "GET transit/keys/kek", "PUT transit/encrypt/kek")
}

// TestWrapOfAMissingKey: to a token that may not create keys Vault says 403.
func TestWrapOfAMissingKey(t *testing.T) {
	s := newScript().
		on("GET transit/keys/kek", inTurn(says(200, keyBody(2)), fails(404))).
		on("PUT transit/encrypt/kek", fails(403, "permission denied"))
	_, err := open(t, s, block(nil)).Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
	wantError(t, "403", err, provider.NotFoundKey, "", "kek create")

	s.on("GET transit/keys/kek", says(200, keyBody(2)))
	_, err = open(t, s, block(nil)).Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
	wantError(t, "403, and the key is there", err, provider.Denied, "", "update transit/encrypt/kek")
}

// TestBatchErrors: one item fails, all fail, on the server's side or on ours.
func TestBatchErrors(t *testing.T) {
	const altered = `{"error":"cipher: message authentication failed"}`
	good := `{"plaintext":"` + rootText() + `"}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		codes  [2]provider.Code
		whole  provider.Code
	}{
		"one":             {says(200, `{"data":{"batch_results":[`+altered+`,`+good+`]}}`), [2]provider.Code{provider.Integrity, ""}, ""},
		"all":             {says(400, `{"request_id":"r","data":{"batch_results":[`+altered+`,`+altered+`]}}`), [2]provider.Code{provider.Integrity, provider.Integrity}, ""},
		"all, inside":     {says(500, `{"data":{"batch_results":[{"error":"could not derive enc key"},{"error":"x"}]}}`), [2]provider.Code{provider.Unavailable, provider.Unavailable}, ""},
		"unknown":         {says(200, `{"data":{"batch_results":[{"error":"something new"},`+good+`]}}`), [2]provider.Code{provider.InvalidArgument, ""}, ""},
		"too new":         {says(200, `{"data":{"batch_results":[{"error":"invalid ciphertext: version is too new"},`+good+`]}}`), [2]provider.Code{provider.NotFoundVersion, ""}, ""},
		"no root":         {says(200, `{"data":{"batch_results":[{"plaintext":"c2hvcnQ="},`+good+`]}}`), [2]provider.Code{provider.Integrity, ""}, ""},
		"too few":         {says(200, `{"data":{"batch_results":[`+good+`]}}`), [2]provider.Code{}, provider.Internal},
		"too many":        {says(200, `{"data":{"batch_results":[`+good+`,`+good+`,`+good+`]}}`), [2]provider.Code{}, provider.Internal},
		"no results":      {says(200, `{"data":{}}`), [2]provider.Code{}, provider.Internal},
		"no data":         {says(200, `null`), [2]provider.Code{}, provider.Internal},
		"no JSON":         {says(200, `<html>`), [2]provider.Code{}, provider.InvalidConfig},
		"a bad batch":     {fails(400, "context should be set either in all the request blocks or in none"), [2]provider.Code{}, provider.InvalidArgument},
		"no key":          {fails(400, "encryption key not found"), [2]provider.Code{}, provider.NotFoundKey},
		"sealed":          {fails(503, "Vault is sealed"), [2]provider.Code{}, provider.Unavailable},
		"500 of no batch": {fails(500, "internal error"), [2]provider.Code{}, provider.Unavailable},
	} {
		s := newScript().on("PUT transit/decrypt/kek", c.answer)
		m := open(t, s, block(nil))
		results, err := m.Unwrap(t.Context(), []provider.UnwrapItem{{Wrapped: wrapOf(1, "a")}, {Wrapped: wrapOf(2, "b")}})
		if provider.CodeOf(err) != c.whole {
			t.Errorf("%s: %v, want %q", name, err, c.whole)
		}
		for i, want := range c.codes {
			if c.whole != "" {
				break
			}
			if got := provider.CodeOf(results[i].Err); got != want {
				t.Errorf("%s: item %d fails with %v, want %q", name, i, results[i].Err, want)
			}
			if want == "" && (!results[i].Plaintext.Equal(root()) || results[i].KEKID != testKEK || results[i].KEKVersion != fmt.Sprint(i+1)) {
				t.Errorf("%s: item %d is %+v", name, i, results[i])
			}
			if want != "" && results[i].Plaintext.Len() > 0 {
				t.Errorf("%s: item %d failed and has a plaintext", name, i)
			}
		}
	}
}

// TestRewrapReadsItemErrors: Vault answers 200 to a rewrap of which every item failed.
func TestRewrapReadsItemErrors(t *testing.T) {
	s := newScript().on("PUT transit/rewrap/kek", says(200,
		`{"data":{"batch_results":[{"error":"cipher: message authentication failed"},{"ciphertext":"vault:v2:YWJj","key_version":2}]}}`))
	m := open(t, s, block(nil))
	results, err := m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: wrapOf(1, "a"), AAD: []byte("x")}, {Wrapped: wrapOf(1, "b")}})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "the first", results[0].Err, provider.Integrity, "")
	if results[1].Err != nil || results[1].Wrapped.KEKVersion != "2" {
		t.Errorf("the second is %+v", results[1])
	}
	want := map[string]any{"batch_input": []any{
		map[string]any{"ciphertext": "vault:v1:YQ==", "context": base64.StdEncoding.EncodeToString(bindingContext([]byte("x")))},
		map[string]any{"ciphertext": "vault:v1:Yg==", "context": base64.StdEncoding.EncodeToString(bindingContext(nil))},
	}}
	if got := s.body(t, "PUT transit/rewrap/kek"); !reflect.DeepEqual(got, want) {
		t.Errorf("it sends %v, want %v", got, want)
	}
}

// TestUnwrapRefusesByItself: what can be seen here costs no request.
func TestUnwrapRefusesByItself(t *testing.T) {
	with := func(change func(*provider.Wrapped)) provider.Wrapped {
		w := wrapOf(1, "a")
		change(&w)
		return w
	}
	for name, c := range map[string]struct {
		w    provider.Wrapped
		code provider.Code
	}{
		"another key":     {with(func(w *provider.Wrapped) { w.KEKID = "vault-transit::transit:other" }), provider.NotFoundKey},
		"empty":           {with(func(w *provider.Wrapped) { w.Blob = nil }), provider.InvalidArgument},
		"no prefix":       {with(func(w *provider.Wrapped) { w.Blob = []byte("v1:YQ==") }), provider.Integrity},
		"quotes":          {with(func(w *provider.Wrapped) { w.Blob = []byte(`vault:v1:YQ=="`) }), provider.Integrity},
		"a line break":    {with(func(w *provider.Wrapped) { w.Blob = []byte("vault:v1:YQ=\n=") }), provider.Integrity},
		"another version": {with(func(w *provider.Wrapped) { w.KEKVersion = "2" }), provider.Integrity},
		"no version":      {with(func(w *provider.Wrapped) { w.KEKVersion = "9999" }), provider.NotFoundVersion},
		"no number":       {with(func(w *provider.Wrapped) { w.KEKVersion = "one" }), provider.NotFoundVersion},
	} {
		s := newScript()
		m := open(t, s, block(nil))
		opened, err := m.Unwrap(t.Context(), []provider.UnwrapItem{{Wrapped: c.w}})
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, name+", opened", opened[0].Err, c.code, "")
		moved, err := m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: c.w}})
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, name+", rewrapped", moved[0].Err, c.code, "")
		for _, call := range s.made() {
			if strings.Contains(call, "crypt") || strings.Contains(call, "rewrap") {
				t.Errorf("%s: %s", name, call)
			}
		}
	}
}

// TestUnwrapOfAnOldVersion tells one that may not decrypt from one that is gone.
func TestUnwrapOfAnOldVersion(t *testing.T) {
	body := `{"data":{"type":"aes256-gcm96","derived":true,"latest_version":5,"min_decryption_version":4,"min_available_version":3,"keys":{"4":1,"5":1}}}`
	s := newScript().on("GET transit/keys/kek", says(200, body)).
		on("PUT transit/decrypt/kek", says(400, `{"data":{"batch_results":[{"error":"`+"ciphertext or signature version is disallowed by policy (too old)"+`"},`+
			`{"error":"`+"ciphertext or signature version is disallowed by policy (too old)"+`"}]}}`))
	m := open(t, s, block(nil))
	results, err := m.Unwrap(t.Context(), []provider.UnwrapItem{{Wrapped: wrapOf(3, "a")}, {Wrapped: wrapOf(2, "a")}})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "version 3", results[0].Err, provider.InvalidState, "", "min_decryption_version of the key is 4", "min_decryption_version=3", "kek rewrap")
	wantError(t, "version 2", results[1].Err, provider.NotFoundVersion, "", "trimmed")
	wantCalls(t, "both", s.made(), "PUT auth/approle/login", "GET transit/keys/kek", "PUT transit/decrypt/kek", "GET transit/keys/kek")

	d, err := m.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := ""
	for _, v := range d.Versions {
		states += v.Version + "=" + string(v.State) + " "
	}
	if states != "3=disabled 4=enabled 5=enabled " || d.PrimaryVersion != "5" {
		t.Errorf("the versions are %s, the primary is %s", states, d.PrimaryVersion)
	}
}

// TestManyItems go out in several requests, and come back in order.
func TestManyItems(t *testing.T) {
	var sizes []int
	s := newScript().on("PUT transit/encrypt/kek", func(w http.ResponseWriter, r *http.Request) {})
	m := open(t, transportFunc(func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/encrypt/kek") {
			return s.RoundTrip(r)
		}
		var in struct {
			Batch []struct {
				Context []byte `json:"context"`
			} `json:"batch_input"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		sizes = append(sizes, len(in.Batch))
		var out []string
		for _, item := range in.Batch {
			out = append(out, `{"ciphertext":"vault:v2:`+base64.StdEncoding.EncodeToString(item.Context)+`"}`)
		}
		return answering(r, 200, `{"data":{"batch_results":[`+strings.Join(out, ",")+`]}}`), nil
	}), block(nil))
	items := make([]provider.WrapItem, 600)
	for i := range items {
		items[i] = provider.WrapItem{Plaintext: root(), AAD: fmt.Appendf(nil, "item %d", i)}
	}
	items[300].Plaintext = provider.NewSecret([]byte("short"))
	results, err := m.Wrap(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if i == 300 {
			wantError(t, "the short one", r.Err, provider.InvalidArgument, "")
			continue
		}
		want := "vault:v2:" + base64.StdEncoding.EncodeToString(bindingContext(items[i].AAD))
		if r.Err != nil || string(r.Wrapped.Blob) != want {
			t.Fatalf("item %d is %s, %v, want %s", i, r.Wrapped.Blob, r.Err, want)
		}
	}
	if fmt.Sprint(sizes) != "[256 256 87]" {
		t.Errorf("the requests have %v items", sizes)
	}
}

// TestRequestsAreWiped: the bytes that carried a root hold none afterwards.
func TestRequestsAreWiped(t *testing.T) {
	s := newScript().on("PUT transit/encrypt/kek", says(200, `{"data":{"batch_results":[{"ciphertext":"vault:v2:YWJj"}]}}`))
	m := open(t, s, block(nil))
	b := batch{op: "encrypt"}
	b.add(0, nil, fieldPlaintext, root().Reveal())
	item := b.items[0]
	body := b.body(0, 1)
	if !strings.Contains(string(body), rootText()) {
		t.Fatal("the body holds no root")
	}
	if _, err := m.ask(t.Context(), put("transit/encrypt/kek", body)); err != nil {
		t.Fatal(err)
	}
	for what, buf := range map[string][]byte{"the item": item, "the request": body} {
		if strings.Trim(string(buf), "\x00") != "" {
			t.Errorf("%s was not wiped: %q", what, buf)
		}
	}
}

func TestAnswersAreWiped(t *testing.T) {
	a := answer{status: 200, body: []byte(`{"data":{"batch_results":[{"plaintext":"` + rootText() + `"}]}}`)}
	out, err := decode[batchResults](&settings{}, get("x"), a)
	if err != nil || string(out.Results[0].Plaintext) != string(root().Reveal()) {
		t.Fatalf("%+v, %v", out, err)
	}
	if strings.Trim(string(a.body), "\x00") != "" {
		t.Errorf("the answer was not wiped: %q", a.body)
	}
}

func TestKeysThatCannotWrap(t *testing.T) {
	key := func(typ, more string) string {
		return `{"data":{"type":"` + typ + `","latest_version":1,"min_decryption_version":1,"keys":{"1":{"public_key":"x"}}` + more + `}}`
	}
	for name, c := range map[string]struct {
		body      string
		attribute string
		says      string
	}{
		"rsa":        {key("rsa-4096", ""), "key", "rsa-4096"},
		"cbc":        {key("aes256-cbc", ""), "key", "aes256-cbc"},
		"hmac":       {key("hmac", ""), "key", "hmac"},
		"managed":    {key("managed_key", ""), "key", "managed_key"},
		"convergent": {key("aes256-gcm96", `,"derived":true,"convergent_encryption":true`), "key", "convergently"},
		"other keys": {`{"data":{"keys":["a"]}}`, "address", "is that Vault?"},
		"a secret":   {`{"data":{"password":"x"}}`, "mount", "no transit key"},
		"nothing":    {`{}`, "mount", "no transit key"},
		"a list":     {`[]`, "address", "is that Vault?"},
	} {
		s := newScript().on("GET transit/keys/kek", says(200, c.body))
		m := open(t, s, block(nil))
		wantError(t, name, describe(t.Context(), m), provider.InvalidConfig, c.attribute, c.says)
		_, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
		wantError(t, name, err, provider.InvalidConfig, c.attribute, c.says)
		_, err = m.Unwrap(t.Context(), []provider.UnwrapItem{{Wrapped: wrapOf(1, "a")}})
		wantError(t, name, err, provider.InvalidConfig, c.attribute, c.says)
		if err != nil && strings.Contains(err.Error(), "password") {
			t.Errorf("%s: the answer shows: %v", name, err)
		}
	}
	for _, typ := range []string{"aes256-gcm96", "aes128-gcm96", "chacha20-poly1305"} {
		s := newScript().on("GET transit/keys/kek", says(200, `{"data":{"type":"`+typ+`","latest_version":1,"min_decryption_version":1,"keys":{"1":1700000000}}}`))
		d, err := open(t, s, block(nil)).DescribeKey(t.Context())
		if err != nil || d.Algorithm != typ || !d.IgnoresAAD || d.Versions[0].Created.Unix() != 1700000000 {
			t.Errorf("%s: %+v, %v", typ, d, err)
		}
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answering(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}
}
