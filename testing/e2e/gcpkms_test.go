package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

const gcpRing = "projects/p/locations/l/keyRings/r"

// gcpScene is a host with a plugin process, and a Cloud KMS that goes wrong as told.
type gcpScene struct {
	t      *testing.T
	fake   *gcpkmsfake.Server
	config string
	kr     *core.Keyrotor
	token  []byte
}

func newGCPScene(t *testing.T, o gcpkmsfake.Options) *gcpScene {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(pluginDir, catalog.FileName("gcp-kms")), "../../plugins/gcp-kms")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	s := &gcpScene{t: t, fake: gcpkmsfake.New(t, o)}
	s.fake.AddKeyRing(gcpRing)
	if s.config, err = core.Init(t.Context(), filepath.Join(dir, "kr"), core.InitOptions{PluginDir: pluginDir}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	block := fmt.Sprintf("provider \"gcp-kms\" \"google\" {\n  key       = \"%s/cryptoKeys/kek\"\n  endpoint  = %q\n  plaintext = true\n}\n", gcpRing, s.fake.Endpoint)
	if err := os.WriteFile(s.config, regexp.MustCompile(`(?ms)^provider .*^}\n`).ReplaceAll(text, []byte(block)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.open()
	if _, err := s.kr.CreateKEK(t.Context(), "google"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	if s.token, err = s.kr.Encrypt(t.Context(), "payments", []byte("a card"), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// open is a host that starts.
func (s *gcpScene) open() {
	s.t.Helper()
	kr, err := core.Opener{CreateStore: true}.Open(s.t.Context(), s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.kr = kr
	s.t.Cleanup(func() {
		if err := kr.Close(); err != nil {
			s.t.Error(err)
		}
	})
}

func (s *gcpScene) rotateKEK() (rewrap.KEKRotation, error) {
	return s.kr.RotateKEK(s.t.Context(), rewrap.KEKRequest{Provider: "google"})
}

// holds: the KEK has so many versions, the newest is the primary, all wraps stand under it
// and open, in this host and in a new one.
func (s *gcpScene) holds(versions int) {
	s.t.Helper()
	primary := fmt.Sprint(versions)
	kek, err := s.kr.DescribeKEK(s.t.Context(), "google")
	if err != nil {
		s.t.Fatal(err)
	}
	if len(kek.Versions) != versions || kek.Primary != primary {
		s.t.Errorf("the KEK is %+v, want %d versions", kek, versions)
	}
	report, err := s.kr.RewrapKEK(s.t.Context(), rewrap.KEKRequest{Provider: "google"})
	if err != nil || report.KEKVersion != primary || report.Rewrapped != 0 || report.RotatedExternally || len(report.Failed) > 0 {
		s.t.Errorf("a rewrap has something left to do: %+v, %v", report, err)
	}
	s.open()
	got, err := s.kr.Decrypt(s.t.Context(), s.token, nil)
	if err != nil || string(got) != "a card" {
		s.t.Errorf("the token opens to %q, %v", got, err)
	}
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
		s.holds(versions)
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
	s.holds(2)
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
	report, err := s.kr.RewrapKEK(t.Context(), rewrap.KEKRequest{Provider: "google"})
	if err != nil || report.Rewrapped != 1 || report.Versions != 2 {
		t.Errorf("the wrap under the former primary: %+v, %v", report, err)
	}
	s.holds(2)
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
