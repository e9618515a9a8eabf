package awskmsfake

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestRotation(t *testing.T) {
	s := newScene(t, Config{RotationTakes: time.Minute})
	key := s.key()
	old := s.encrypt(key, nil)
	list := func(in kms.ListKeyRotationsInput) *kms.ListKeyRotationsOutput {
		t.Helper()
		in.KeyId = &key
		out, err := s.ListKeyRotations(s.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	onDemand := func() error {
		out, err := s.RotateKeyOnDemand(s.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key})
		if err == nil && !strings.HasSuffix(key, "/"+*out.KeyId) {
			t.Errorf("RotateKeyOnDemand answers %+v", out)
		}
		return err
	}
	status := func() *kms.GetKeyRotationStatusOutput {
		t.Helper()
		out, err := s.GetKeyRotationStatus(s.Context(), &kms.GetKeyRotationStatusInput{KeyId: &key})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	s.refused("on demand", onDemand(), "")
	if status().OnDemandRotationStartDate == nil || len(list(kms.ListKeyRotationsInput{}).Rotations) != 0 {
		t.Error("it is not in progress")
	}
	s.later(time.Minute)
	if status().OnDemandRotationStartDate != nil || len(list(kms.ListKeyRotationsInput{}).Rotations) != 1 {
		t.Error("it is not done")
	}
	if _, err := s.Decrypt(s.Context(), &kms.DecryptInput{CiphertextBlob: old}); err != nil {
		t.Errorf("an old ciphertext: %v", err)
	}
	whole := list(kms.ListKeyRotationsInput{IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial}).Rotations
	if len(whole) != 2 || whole[0].RotationDate != nil || whole[0].KeyMaterialState != types.KeyMaterialStateNonCurrent ||
		whole[1].KeyMaterialState != types.KeyMaterialStateCurrent || whole[1].RotationType != types.RotationTypeOnDemand {
		t.Errorf("the key materials are %+v", whole)
	}

	for _, days := range []int32{89, 2561} {
		_, err := s.EnableKeyRotation(s.Context(), &kms.EnableKeyRotationInput{KeyId: &key, RotationPeriodInDays: &days})
		s.refused(fmt.Sprintf("%d days", days), err, "ValidationException")
	}
	_, err := s.EnableKeyRotation(s.Context(), &kms.EnableKeyRotationInput{KeyId: &key, RotationPeriodInDays: new(int32(90))})
	s.refused("90 days", err, "")
	s.later(90*24*time.Hour - 19*time.Minute)
	s.refused("near an automatic rotation", onDemand(), "ConflictException")
	s.later(20 * time.Minute)
	if got := list(kms.ListKeyRotationsInput{}).Rotations; len(got) != 2 || got[1].RotationType != types.RotationTypeAutomatic {
		t.Errorf("the automatic rotation: %+v", got)
	}
	for range mostOnDemand - 1 {
		s.refused("on demand", onDemand(), "")
	}
	s.refused("the 26th", onDemand(), "LimitExceededException")
	s.later(time.Minute)
	first := list(kms.ListKeyRotationsInput{Limit: new(int32(20))})
	if len(first.Rotations) != 20 || !first.Truncated {
		t.Fatalf("the first page has %d of 26", len(first.Rotations))
	}
	if rest := list(kms.ListKeyRotationsInput{Limit: new(int32(20)), Marker: first.NextMarker}); len(rest.Rotations) != 6 || rest.Truncated {
		t.Errorf("the second page has %d", len(rest.Rotations))
	}
	_, err = s.ListKeyRotations(s.Context(), &kms.ListKeyRotationsInput{KeyId: &key, Marker: new("nonsense")})
	s.refused("a wrong marker", err, "InvalidMarkerException")
	hsm, err := s.CreateKey(s.Context(), &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.RotateKeyOnDemand(s.Context(), &kms.RotateKeyOnDemandInput{KeyId: hsm.KeyMetadata.KeyId})
	s.refused("a custom key store", err, "UnsupportedOperationException")
}
