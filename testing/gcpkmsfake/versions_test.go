package gcpkmsfake_test

import (
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"

	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

// TestVersions: each opens what it made, as long as it is enabled.
func TestVersions(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := start(t, gcpkmsfake.Options{Now: func() time.Time { return now }})
	key := c.newKey("k", 0)
	first := c.encrypt(key, "plain", "")
	second := c.addVersion(key)
	if c.encrypt(key, "plain", "").GetName() != first.GetName() {
		t.Error("a new version is the primary at once")
	}
	if named := c.encrypt(second.GetName(), "plain", ""); named.GetName() != second.GetName() {
		t.Errorf("a version that is named is not used: %s", named.GetName())
	}
	if err := c.setPrimary(key, "2"); err != nil {
		t.Fatal(err)
	}
	if got := c.encrypt(key, "plain", "").GetName(); got != second.GetName() {
		t.Errorf("the primary is %s", got)
	}
	if back, err := c.decrypt(key, first.GetCiphertext(), ""); err != nil || back.GetUsedPrimary() {
		t.Errorf("the first version answers %v, %v", back, err)
	}
	v1 := first.GetName()
	wantCode(t, "no mask", c.setState(v1, kmspb.CryptoKeyVersion_DISABLED), codes.InvalidArgument, "update_mask")
	wantCode(t, "another mask", c.setState(v1, kmspb.CryptoKeyVersion_DISABLED, "state", "name"), codes.InvalidArgument, "update_mask")
	wantCode(t, "another state", c.setState(v1, kmspb.CryptoKeyVersion_DESTROYED, "state"), codes.InvalidArgument, "DESTROYED")
	if err := c.setState(v1, kmspb.CryptoKeyVersion_DISABLED, "state"); err != nil {
		t.Fatal(err)
	}
	_, err := c.decrypt(key, first.GetCiphertext(), "")
	wantCode(t, "disabled", err, codes.FailedPrecondition, "current state is: DISABLED")
	wantCode(t, "a disabled primary", c.setPrimary(key, "1"), codes.FailedPrecondition, "DISABLED")
	wantCode(t, "no such primary", c.setPrimary(key, "3"), codes.NotFound, "cryptoKeyVersions/3")
	gone, err := c.DestroyCryptoKeyVersion(t.Context(), &kmspb.DestroyCryptoKeyVersionRequest{Name: v1})
	if err != nil || gone.GetState() != kmspb.CryptoKeyVersion_DESTROY_SCHEDULED || !gone.GetDestroyTime().AsTime().Equal(now.AddDate(0, 0, 30)) {
		t.Errorf("Destroy answers %v, %v", gone, err)
	}
	wantCode(t, "enabling what is to be destroyed", c.setState(v1, kmspb.CryptoKeyVersion_ENABLED, "state"), codes.FailedPrecondition, "DESTROY_SCHEDULED")
	_, err = c.DestroyCryptoKeyVersion(t.Context(), &kmspb.DestroyCryptoKeyVersionRequest{Name: v1})
	wantCode(t, "destroying twice", err, codes.FailedPrecondition, "DESTROY_SCHEDULED")
	restored, err := c.RestoreCryptoKeyVersion(t.Context(), &kmspb.RestoreCryptoKeyVersionRequest{Name: v1})
	if err != nil || restored.GetState() != kmspb.CryptoKeyVersion_DISABLED || restored.GetDestroyTime() != nil {
		t.Errorf("Restore answers %v, %v", restored, err)
	}
	_, err = c.RestoreCryptoKeyVersion(t.Context(), &kmspb.RestoreCryptoKeyVersionRequest{Name: v1})
	wantCode(t, "restoring twice", err, codes.FailedPrecondition, "DISABLED")
	if err := c.Destroy(v1); err != nil {
		t.Fatal(err)
	}
	_, err = c.decrypt(key, first.GetCiphertext(), "")
	wantCode(t, "destroyed", err, codes.FailedPrecondition, "current state is: DESTROYED")
}

func TestLag(t *testing.T) {
	c := start(t, gcpkmsfake.Options{LaggingEncrypts: 1, LaggingReads: 1})
	key := c.newKey("k", 0)
	c.addVersion(key)
	if err := c.setPrimary(key, "2"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"1", "2"} {
		if got := c.encrypt(key, "plain", "").GetName(); got != key+"/cryptoKeyVersions/"+want {
			t.Errorf("Encrypt %d uses %s", i, got)
		}
		k, err := c.GetCryptoKey(t.Context(), &kmspb.GetCryptoKeyRequest{Name: key})
		if err != nil || k.GetPrimary().GetName() != key+"/cryptoKeyVersions/"+want {
			t.Errorf("read %d shows %v, %v", i, k.GetPrimary(), err)
		}
	}
}

func TestGeneration(t *testing.T) {
	c := start(t, gcpkmsfake.Options{GenerationReads: 1})
	key := c.newKey("k", 0)
	v := c.addVersion(key)
	wantCode(t, "not ready", c.setPrimary(key, "2"), codes.FailedPrecondition, "PENDING_GENERATION")
	for i, want := range []kmspb.CryptoKeyVersion_CryptoKeyVersionState{kmspb.CryptoKeyVersion_PENDING_GENERATION, kmspb.CryptoKeyVersion_ENABLED} {
		got, err := c.GetCryptoKeyVersion(t.Context(), &kmspb.GetCryptoKeyVersionRequest{Name: v.GetName()})
		if err != nil || got.GetState() != want {
			t.Errorf("read %d shows %v, %v", i, got, err)
		}
	}
}
