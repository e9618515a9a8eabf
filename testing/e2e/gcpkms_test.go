package e2e

import (
	"fmt"
	"maps"
	"path"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

const gcpRing = "projects/p/locations/l/keyRings/r"

// gcpScene is a host, and a Cloud KMS that goes wrong as told.
type gcpScene struct {
	*cloudHost
	fake *gcpkmsfake.Server
}

func newGCPScene(t *testing.T, o gcpkmsfake.Options) *gcpScene {
	t.Helper()
	fake := gcpkmsfake.New(t, o)
	fake.AddKeyRing(gcpRing)
	block := fmt.Sprintf("provider \"gcp-kms\" \"cloud\" {\n  key       = \"%s/cryptoKeys/kek\"\n  endpoint  = %q\n  plaintext = true\n}\n", gcpRing, fake.Endpoint)
	s := &gcpScene{cloudHost: newCloudHost(t, "gcp-kms", block), fake: fake}
	s.createKEK()
	return s
}

// TestCloudKMSRotationLost: the answer of either call of a rotation is lost after it was
// applied. The rotation is settled, and no other version is made.
func TestCloudKMSRotationLost(t *testing.T) {
	s := newGCPScene(t, gcpkmsfake.Options{})
	versions := 1
	for _, call := range []string{"*/CreateCryptoKeyVersion", "*/UpdateCryptoKeyPrimaryVersion"} {
		s.fake.Next(1, call, faultplan.Lost())
		r, err := s.rotateKEK()
		versions++
		if err != nil || r.Rewrapped != 1 || r.KEKVersion != fmt.Sprint(versions) || s.fake.Pending() != 0 {
			t.Errorf("%s is lost: %+v, %v", call, r, err)
		}
		s.holds(versions, fmt.Sprint(versions))
	}
}

// TestCloudKMSRotationCutOff: between the two calls everything ends, and a host that starts
// later goes on.
func TestCloudKMSRotationCutOff(t *testing.T) {
	s := newGCPScene(t, gcpkmsfake.Options{})
	s.fake.Every("*/UpdateCryptoKeyPrimaryVersion", faultplan.Cut())
	if _, err := s.rotateKEK(); provider.CodeOf(err) != provider.Unavailable {
		t.Fatalf("it answers %v", err)
	}
	if n := len(s.fake.Calls("*/UpdateCryptoKeyPrimaryVersion")); n != 1 {
		t.Errorf("a call that changes something was made %d times", n)
	}
	s.fake.Clear()
	s.open()
	r, err := s.rotateKEK()
	if err != nil || r.Previous != "1" || r.KEKVersion != "2" || r.Rewrapped != 1 {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
	s.holds(2, "2")
}

// TestCloudKMSPrimarySpreads: the new primary is not to be seen everywhere at once. The
// rotation waits for it, and the wraps go to the new version all the same; a version of the
// key that is made meanwhile says which one it stands under.
func TestCloudKMSPrimarySpreads(t *testing.T) {
	s := newGCPScene(t, gcpkmsfake.Options{})
	s.fake.SetOptions(func(o *gcpkmsfake.Options) { o.LaggingReads, o.LaggingEncrypts = 3, 1 })
	r, err := s.rotateKEK()
	if err != nil || r.KEKVersion != "2" || r.Rewrapped != 1 || len(r.Failed) > 0 {
		t.Fatalf("it answers %+v, %v", r, err)
	}
	if _, err := s.kr.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	report, err := s.kr.RewrapKEK(t.Context(), rewrap.KEKRequest{Provider: "cloud"})
	if err != nil || report.Rewrapped != 1 || report.Versions != 2 {
		t.Errorf("the wrap under the former primary: %+v, %v", report, err)
	}
	s.holds(2, "2")
}

// TestCloudKMSRequests: what the provider's page says of a whole rotation.
func TestCloudKMSRequests(t *testing.T) {
	s := newGCPScene(t, gcpkmsfake.Options{})
	s.fake.Forget()
	if _, err := s.rotateKEK(); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, c := range s.fake.Calls("*") {
		got[path.Base(c.Name)]++
	}
	want := map[string]int{
		"GetCryptoKey": 6, "ListCryptoKeyVersions": 4, "CreateCryptoKeyVersion": 1, "UpdateCryptoKeyPrimaryVersion": 1,
		"Decrypt": 2, "Encrypt": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("a rotation with one wrap makes the requests %v, want %v", got, want)
	}
}
