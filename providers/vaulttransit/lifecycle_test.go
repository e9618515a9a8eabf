package vaulttransit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	readKey = "GET transit/keys/kek"
	rotate  = "PUT transit/keys/kek/rotate"
	makeKey = "PUT transit/keys/kek"
)

func TestRotateKey(t *testing.T) {
	lost := io.ErrUnexpectedEOF
	for name, c := range map[string]struct {
		expected string
		rotate   http.HandlerFunc
		lost     error
		reads    []http.HandlerFunc
		new      string
		code     provider.Code
		calls    []string
	}{
		"it rotates":                   {"2", says(200, keyBody(3)), nil, nil, "3", "", []string{readKey, rotate}},
		"an old Vault answers nothing": {"2", says(204, ""), nil, []http.HandlerFunc{says(200, keyBody(2)), says(200, keyBody(3))}, "3", "", []string{readKey, rotate, readKey}},
		"somebody else did, too":       {"2", says(200, keyBody(4)), nil, nil, "4", "", []string{readKey, rotate}},
		"stale":                        {"1", says(200, keyBody(3)), nil, nil, "", provider.VersionChanged, []string{readKey}},
		"no version":                   {"", says(200, keyBody(3)), nil, nil, "", provider.VersionChanged, []string{readKey}},
		"the answer is lost":           {"2", nil, lost, []http.HandlerFunc{says(200, keyBody(2)), says(200, keyBody(3))}, "3", "", []string{readKey, rotate, readKey}},
		"the request is lost":          {"2", nil, lost, []http.HandlerFunc{says(200, keyBody(2))}, "", provider.Unavailable, []string{readKey, rotate, readKey}},
		"nobody can tell":              {"2", nil, lost, []http.HandlerFunc{says(200, keyBody(2)), fails(503)}, "", provider.Unavailable, []string{readKey, rotate, readKey}},
		"500, and it happened":         {"2", fails(500), nil, []http.HandlerFunc{says(200, keyBody(2)), says(200, keyBody(3))}, "3", "", []string{readKey, rotate, readKey}},
		"500, and it did not":          {"2", fails(500), nil, []http.HandlerFunc{says(200, keyBody(2))}, "", provider.Unavailable, []string{readKey, rotate, readKey}},
		"throttled":                    {"2", fails(429), nil, nil, "", provider.Throttled, []string{readKey, rotate, readKey}},
		"imported":                     {"2", fails(500, "imported key kek does not allow rotation within Vault"), nil, nil, "", provider.InvalidState, []string{readKey, rotate}},
		"it may not":                   {"2", fails(403, "permission denied"), nil, nil, "", provider.Denied, []string{readKey, rotate, "GET auth/token/lookup-self"}},
		"it is gone":                   {"2", fails(400, "key not found"), nil, nil, "", provider.NotFoundKey, []string{readKey, rotate}},
	} {
		s := newScript().on(rotate, c.rotate)
		if c.reads != nil {
			s.on(readKey, inTurn(c.reads...))
		}
		m := open(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			if c.lost != nil && r.Method == http.MethodPut && r.URL.Path == "/v1/transit/keys/kek/rotate" {
				s.mu.Lock()
				s.calls = append(s.calls, rotate)
				s.mu.Unlock()
				return nil, c.lost
			}
			return s.RoundTrip(r)
		}), block(nil))
		res, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: c.expected, RequestID: "r"})
		if provider.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
		want := provider.RotateKeyResponse{}
		if c.code == "" {
			want = provider.RotateKeyResponse{OldVersion: "2", NewVersion: c.new}
		}
		if res != want {
			t.Errorf("%s: %+v, want %+v", name, res, want)
		}
		wantCalls(t, name, s.made(), append([]string{"PUT auth/approle/login"}, c.calls...)...)
	}
}

// TestRotateKeyAfterALogin: a refusal changed nothing, so the request may be sent again.
func TestRotateKeyAfterALogin(t *testing.T) {
	s := newScript().on(rotate, inTurn(fails(403, invalid), says(200, keyBody(3))))
	res, err := open(t, s, block(nil)).RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "2"})
	if err != nil || res.NewVersion != "3" {
		t.Errorf("%+v, %v", res, err)
	}
	wantCalls(t, "after a login", s.made(), "PUT auth/approle/login", readKey, rotate, "PUT auth/approle/login", rotate)
}

// TestRotateKeyOneAtATime: of callers of one instance, one rotates.
func TestRotateKeyOneAtATime(t *testing.T) {
	var mu sync.Mutex
	latest := 2
	s := newScript()
	answer := func(add int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			latest += add
			n := latest
			mu.Unlock()
			says(200, keyBody(n))(w, r)
		}
	}
	s.on(readKey, answer(0)).on(rotate, answer(1))
	m := open(t, s, block(nil))
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "2"})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, provider.VersionChanged) {
			t.Error(err)
		}
	}
	if won != 1 || latest != 3 {
		t.Errorf("%d of 8 rotate, and the latest version is %d", won, latest)
	}
}

// TestRotateKeyGivesUpWaiting for another rotation, and that one's turn is not lost.
func TestRotateKeyGivesUpWaiting(t *testing.T) {
	m := open(t, newScript(), block(nil))
	<-m.rotating
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := m.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "2"})
		ended <- err
	}()
	cancel()
	wantError(t, "who gave up", <-ended, provider.Unavailable, "")
	m.rotating <- struct{}{}
	if _, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "2"}); err != nil {
		t.Error(err)
	}
}

func TestCreateKey(t *testing.T) {
	lost := io.ErrUnexpectedEOF
	for name, c := range map[string]struct {
		make  http.HandlerFunc
		lost  error
		reads []http.HandlerFunc
		code  provider.Code
		calls []string
	}{
		"it is made":         {says(200, keyBody(1)), nil, []http.HandlerFunc{fails(404), says(200, keyBody(1))}, "", []string{readKey, makeKey, readKey}},
		"an old Vault":       {says(204, ""), nil, []http.HandlerFunc{fails(404), says(200, keyBody(1))}, "", []string{readKey, makeKey, readKey}},
		"it exists":          {says(200, keyBody(1)), nil, []http.HandlerFunc{says(200, keyBody(1))}, provider.AlreadyExists, []string{readKey}},
		"somebody is faster": {says(200, ""), nil, []http.HandlerFunc{fails(404), says(200, `{"data":{"type":"aes256-gcm96","derived":false,"latest_version":1}}`)}, provider.AlreadyExists, []string{readKey, makeKey, readKey}},
		"the answer is lost": {nil, lost, []http.HandlerFunc{fails(404), says(200, keyBody(1))}, "", []string{readKey, makeKey, readKey}},
		"it is lost":         {nil, lost, []http.HandlerFunc{fails(404)}, provider.Unavailable, []string{readKey, makeKey, readKey}},
		"it may not":         {fails(403, "permission denied"), nil, []http.HandlerFunc{fails(404)}, provider.Denied, []string{readKey, makeKey, "GET auth/token/lookup-self"}},
		"it may not look":    {says(200, keyBody(1)), nil, []http.HandlerFunc{fails(403, "permission denied")}, provider.Denied, []string{readKey, "GET auth/token/lookup-self"}},
	} {
		s := newScript().on(makeKey, c.make).on(readKey, inTurn(c.reads...))
		m := open(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			if c.lost != nil && r.Method == http.MethodPut && r.URL.Path == "/v1/transit/keys/kek" {
				s.mu.Lock()
				s.calls = append(s.calls, makeKey)
				s.mu.Unlock()
				return nil, c.lost
			}
			return s.RoundTrip(r)
		}), block(nil))
		res, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{})
		if provider.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
		if want := (provider.CreateKeyResponse{KEKID: testKEK, Version: "1"}); c.code == "" && res != want {
			t.Errorf("%s: %+v, want %+v", name, res, want)
		}
		wantCalls(t, name, s.made(), append([]string{"PUT auth/approle/login"}, c.calls...)...)
	}
}

func TestCreateKeyAsksForADerivedKey(t *testing.T) {
	s := newScript().on(makeKey, says(200, keyBody(1))).on(readKey, inTurn(fails(404), says(200, keyBody(1))))
	if _, err := open(t, s, block(nil)).CreateKey(t.Context(), provider.CreateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"type": "aes256-gcm96", "derived": true, "exportable": false, "allow_plaintext_backup": false}
	if got := s.body(t, makeKey); !reflect.DeepEqual(got, want) {
		t.Errorf("it sends %v, want %v", got, want)
	}
}
