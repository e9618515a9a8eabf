package awskmsfake

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestStates(t *testing.T) {
	s := newScene(t, Config{})
	key := s.key()
	use := func() error {
		_, err := s.Encrypt(s.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
		return err
	}
	tagIt := func() error {
		_, err := s.TagResource(s.Context(), &kms.TagResourceInput{KeyId: &key, Tags: []types.Tag{{TagKey: new("k"), TagValue: new("v")}}})
		return err
	}
	rotateIt := func() error {
		_, err := s.RotateKeyOnDemand(s.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key})
		return err
	}
	do := func(_ any, err error) {
		t.Helper()
		s.refused("a change of state", err, "")
	}
	all := func(state, used, tagged, rotated string) {
		t.Helper()
		d, err := s.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
		if err != nil || string(d.KeyMetadata.KeyState) != state {
			t.Errorf("the state is %+v, %v, want %s", d, err, state)
		}
		s.refused(state+": Encrypt", use(), used)
		s.refused(state+": TagResource", tagIt(), tagged)
		s.refused(state+": RotateKeyOnDemand", rotateIt(), rotated)
	}
	all(enabled, "", "", "")
	do(s.DisableKey(s.Context(), &kms.DisableKeyInput{KeyId: &key}))
	all(disabled, "DisabledException", "", "DisabledException")
	_, err := s.CancelKeyDeletion(s.Context(), &kms.CancelKeyDeletionInput{KeyId: &key})
	s.refused("nothing to cancel", err, "KMSInvalidStateException")
	_, err = s.ScheduleKeyDeletion(s.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key, PendingWindowInDays: new(int32(6))})
	s.refused("six days", err, "ValidationException")
	do(s.ScheduleKeyDeletion(s.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key, PendingWindowInDays: new(int32(7))}))
	all(pendingDeletion, "KMSInvalidStateException", "KMSInvalidStateException", "KMSInvalidStateException")
	tags, err := s.ListResourceTags(s.Context(), &kms.ListResourceTagsInput{KeyId: &key})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("the tags are frozen, and read: %+v, %v", tags, err)
	}
	do(s.CancelKeyDeletion(s.Context(), &kms.CancelKeyDeletionInput{KeyId: &key}))
	all(disabled, "DisabledException", "", "DisabledException")
	do(s.EnableKey(s.Context(), &kms.EnableKeyInput{KeyId: &key}))
	all(enabled, "", "", "")
}
