package gcpkmsfake_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

func TestQuota(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := start(t, gcpkmsfake.Options{WriteQuota: 2, Now: func() time.Time { return now }})
	key := c.newKey("k", 0)
	c.addVersion(key)
	now = now.Add(59 * time.Second)
	err := c.setPrimary(key, "2")
	wantCode(t, "the third write", err, codes.ResourceExhausted, "Quota exceeded")
	for _, d := range status.Convert(err).Details() {
		if retry, ok := d.(*errdetails.RetryInfo); ok && retry.GetRetryDelay().AsDuration() != time.Second {
			t.Errorf("it says to come again after %s", retry.GetRetryDelay().AsDuration())
		}
	}
	c.encrypt(key, "plain", "")
	now = now.Add(time.Second)
	if err := c.setPrimary(key, "2"); err != nil {
		t.Error(err)
	}
}

func TestAuthorize(t *testing.T) {
	c := start(t, gcpkmsfake.Options{TLS: true, Authorize: func(token string) error {
		if token != "good" {
			return errors.New("bad")
		}
		return nil
	}})
	for token, code := range map[string]codes.Code{"good": codes.NotFound, "bad": codes.Unauthenticated, "": codes.Unauthenticated} {
		ctx := t.Context()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		_, err := c.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: "none"})
		wantCode(t, "the token "+token, err, code, "")
	}
}

func TestGrant(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key := c.newKey("k", 0)
	c.Grant("cloudkms.cryptoKeys.get")
	if _, err := c.GetCryptoKey(t.Context(), &kmspb.GetCryptoKeyRequest{Name: key}); err != nil {
		t.Error(err)
	}
	_, err := c.Encrypt(t.Context(), &kmspb.EncryptRequest{Name: key})
	wantCode(t, "what is not granted", err, codes.PermissionDenied, "cloudkms.cryptoKeyVersions.useToEncrypt")
}

// TestFaults: each of the plan's vocabulary, in the words of gRPC; and what is applied.
func TestFaults(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key := c.newKey("k", 0)
	versions := func() int {
		list, err := c.ListCryptoKeyVersions(t.Context(), &kmspb.ListCryptoKeyVersionsRequest{Parent: key})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.GetCryptoKeyVersions())
	}
	for what, f := range map[string]struct {
		fault   faultplan.Fault
		code    codes.Code
		applied int
	}{
		"late": {faultplan.Late(time.Nanosecond), codes.OK, 1}, "throttled": {faultplan.Throttled(time.Second), codes.ResourceExhausted, 0},
		"500": {faultplan.Failed(500), codes.Internal, 0}, "501": {faultplan.Failed(501), codes.Unimplemented, 0},
		"503": {faultplan.Failed(503), codes.Unavailable, 0}, "504": {faultplan.Failed(504), codes.DeadlineExceeded, 0},
		"denied": {faultplan.Refused(), codes.PermissionDenied, 0}, "cut before": {faultplan.Cut(), codes.Unavailable, 0},
		"cut after": {faultplan.Lost(), codes.Unavailable, 1},
		"wrong":     {gcpkmsfake.Wrong(func(v *kmspb.CryptoKeyVersion) { v.Name = "another" }), codes.OK, 1},
	} {
		before := versions()
		c.Next(1, "*/CreateCryptoKeyVersion", f.fault)
		v, err := c.CreateCryptoKeyVersion(t.Context(), &kmspb.CreateCryptoKeyVersionRequest{Parent: key, CryptoKeyVersion: &kmspb.CryptoKeyVersion{}})
		wantCode(t, what, err, f.code, "")
		if got := versions() - before; got != f.applied {
			t.Errorf("%s: it was applied %d times", what, got)
		}
		if what == "wrong" && v.GetName() != "another" {
			t.Errorf("the answer is %v", v)
		}
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.Next(1, "*/Encrypt", faultplan.Late(time.Hour))
	_, err := c.Encrypt(impatient, &kmspb.EncryptRequest{Name: key})
	wantCode(t, "a caller who goes", err, codes.DeadlineExceeded, "")
	if c.Pending() != 0 {
		t.Errorf("%d faults were not used", c.Pending())
	}
}
