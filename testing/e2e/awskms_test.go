package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
	"github.com/keyrotor/keyrotor/testing/faultplan"
)

const awsAlias = "alias/kek"

// awsScene is a host, and an AWS KMS that goes wrong as told.
type awsScene struct {
	*cloudHost
	fake *awskmsfake.Server
	// admin asks AWS past the host and its plugin.
	admin *kms.Client
	first string // the key material that the key was made with
}

func newAWSScene(t *testing.T, c awskmsfake.Config) *awsScene {
	t.Helper()
	s := newAWSHost(t, c)
	s.createKEK()
	kek, err := s.kr.DescribeKEK(t.Context(), "cloud")
	if err != nil {
		t.Fatal(err)
	}
	s.first = kek.Primary
	return s
}

// newAWSHost is one whose KEK is not there yet.
func newAWSHost(t *testing.T, c awskmsfake.Config) *awsScene {
	t.Helper()
	fake := awskmsfake.Start(t, c)
	user, err := fake.User("keyrotor", awskmsfake.AllowAll)
	if err != nil {
		t.Fatal(err)
	}
	block := fmt.Sprintf(`provider "aws-kms" "cloud" {
  key_id            = %q
  region            = %q
  endpoint          = %q
  sts_endpoint      = %q
  access_key_id     = %q
  secret_access_key = %q
}
`, awsAlias, awskmsfake.Region, fake.URL, fake.URL, user.AccessKeyID, user.SecretAccessKey)
	s := &awsScene{cloudHost: newCloudHost(t, "aws-kms", block), fake: fake}
	s.admin = kms.New(kms.Options{
		Region: awskmsfake.Region, BaseEndpoint: &fake.URL,
		Credentials: credentials.NewStaticCredentialsProvider(user.AccessKeyID, user.SecretAccessKey, ""),
	})
	return s
}

// rotations is how often AWS has rotated the key.
func (s *awsScene) rotations() int {
	s.t.Helper()
	key, err := s.admin.DescribeKey(s.t.Context(), &kms.DescribeKeyInput{KeyId: new(awsAlias)})
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := s.admin.ListKeyRotations(s.t.Context(), &kms.ListKeyRotationsInput{KeyId: key.KeyMetadata.Arn})
	if err != nil {
		s.t.Fatal(err)
	}
	return len(list.Rotations)
}

// rotatedOnce: the rotation that was reported is the only one that there is.
func (s *awsScene) rotatedOnce(r rewrap.KEKRotation, err error) {
	s.t.Helper()
	if err != nil || r.Rewrapped != 1 || len(r.Failed) > 0 || r.Previous != s.first || r.KEKVersion == s.first {
		s.t.Errorf("it answers %+v, %v", r, err)
	}
	if n := s.rotations(); n != 1 || s.fake.Pending() != 0 {
		s.t.Errorf("AWS has made %d rotations, and %d faults did not happen", n, s.fake.Pending())
	}
	s.holds(2, r.KEKVersion)
}

const awsRotate = "TrentService.RotateKeyOnDemand"

// TestAWSRotationLost: AWS has begun a rotation, or has made it, and the answer is lost.
func TestAWSRotationLost(t *testing.T) {
	for _, takes := range []time.Duration{0, time.Second} {
		t.Run("takes "+takes.String(), func(t *testing.T) {
			s := newAWSScene(t, awskmsfake.Config{RotationTakes: takes})
			s.fake.Next(1, awsRotate, faultplan.Lost())
			s.rotatedOnce(s.rotateKEK())
			if n := len(s.fake.Calls(awsRotate)); n != 1 {
				t.Errorf("a rotation was asked for %d times", n)
			}
		})
	}
}

// TestAWSRotationPending: AWS answers with the key's id alone, and the host looks until
// the rotation is done. The requests are those that the provider's page has for a rotation
// that is done at the second look.
func TestAWSRotationPending(t *testing.T) {
	var passed atomic.Int64
	s := newAWSScene(t, awskmsfake.Config{
		RotationTakes: time.Minute, Now: func() time.Time { return time.Now().Add(time.Duration(passed.Load())) },
	})
	s.fake.Forget()
	// Before it asks, the host looks twice, and then once for what the answer is worth.
	const list = "TrentService.ListKeyRotations"
	s.fake.Next(3, list, faultplan.Late(0))
	s.fake.Next(1, list, faultplan.Wrong(func(answer []byte) []byte {
		passed.Store(int64(time.Minute))
		return answer
	}))
	r, err := s.rotateKEK()
	got := map[string]int{}
	for _, c := range s.fake.Calls("*") {
		got[strings.TrimPrefix(c.Name, "TrentService.")]++
	}
	want := map[string]int{
		"DescribeKey": 6, "ListKeyRotations": 5, "GetKeyRotationStatus": 1, "RotateKeyOnDemand": 1, "ReEncrypt": 1, "Decrypt": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("a rotation with one wrap makes the requests %v, want %v", got, want)
	}
	s.rotatedOnce(r, err)
}

// TestAWSRotationCutOff: the host is stopped while AWS rotates, and one that starts later
// goes on.
func TestAWSRotationCutOff(t *testing.T) {
	s := newAWSScene(t, awskmsfake.Config{RotationTakes: 3 * time.Second})
	ctx, stop := context.WithCancel(t.Context())
	s.fake.Next(1, awsRotate, faultplan.Wrong(func(answer []byte) []byte {
		stop()
		return answer
	}))
	if r, err := s.kr.RotateKEK(ctx, rewrap.KEKRequest{Provider: "cloud"}); err == nil {
		t.Fatalf("it was stopped, and answers %+v", r)
	}
	s.open()
	r, err := s.rotateKEK()
	if !r.Resumed {
		t.Error("the new host does not know of the rotation")
	}
	s.rotatedOnce(r, err)
	if n := len(s.fake.Calls(awsRotate)); n != 1 {
		t.Errorf("a rotation was asked for %d times", n)
	}
}

// TestAWSRotationRefused: a request that AWS did not take changes nothing, and is not
// repeated behind the caller's back; the next rotation is the first one.
func TestAWSRotationRefused(t *testing.T) {
	s := newAWSScene(t, awskmsfake.Config{})
	for _, f := range []struct {
		fault faultplan.Fault
		code  provider.Code
	}{
		{faultplan.Throttled(0), provider.Throttled},
		{faultplan.Failed(500), provider.Unavailable},
		{faultplan.Failed(503), provider.Unavailable},
		{faultplan.Cut(), provider.Unavailable},
		{faultplan.Refused(), provider.Denied},
	} {
		s.fake.Forget()
		s.fake.Next(1, awsRotate, f.fault)
		if r, err := s.rotateKEK(); provider.CodeOf(err) != f.code {
			t.Errorf("instead of %s it answers %+v, %v", f.code, r, err)
		}
		if calls, n := len(s.fake.Calls(awsRotate)), s.rotations(); calls != 1 || n != 0 {
			t.Errorf("%s: a rotation was asked for %d times, and AWS made %d", f.code, calls, n)
		}
	}
	s.rotatedOnce(s.rotateKEK())
}

// TestAWSCustomKeyStore: AWS names no key material of such a key. It does everything but
// rotate, and who asks for that, or looks, is told so.
func TestAWSCustomKeyStore(t *testing.T) {
	s := newAWSHost(t, awskmsfake.Config{})
	made, err := s.admin.CreateKey(t.Context(), &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: new(awsAlias), TargetKeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	s.createKey()
	if _, err := s.kr.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Error(err)
	}
	kek, err := s.kr.DescribeKEK(t.Context(), "cloud")
	if err != nil || kek.Primary != "" || len(kek.Versions) != 0 || kek.RotatedExternally {
		t.Errorf("the KEK is %+v, %v", kek, err)
	}
	_, rotateErr := s.rotateKEK()
	_, rewrapErr := s.kr.RewrapKEK(t.Context(), rewrap.KEKRequest{Provider: "cloud"})
	for _, err := range []error{rotateErr, rewrapErr} {
		if provider.CodeOf(err) != provider.Unsupported || !strings.Contains(err.Error(), "keyrotor key migrate") {
			t.Errorf("it answers %v", err)
		}
	}
	s.open()
	s.decrypts()
	report, err := core.Opener{}.Examine(t.Context(), s.config, true)
	if err != nil {
		t.Fatal(err)
	}
	says := map[string]string{}
	for _, f := range report.Findings {
		if strings.HasPrefix(f.Check, "provider.") {
			says[f.Check] += fmt.Sprintln(f.Status, f.Evidence)
		}
	}
	if !strings.HasPrefix(says["provider.kek"], "ok ") || !strings.Contains(says["provider.kek"], "keyrotor key migrate") ||
		!strings.HasPrefix(says["provider.wraps"], "ok 2 wraps") || says["provider.rotated"] != "" {
		t.Errorf("doctor says %v", says)
	}
}
