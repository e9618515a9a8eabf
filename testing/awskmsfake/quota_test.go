package awskmsfake

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestQuotas: each class has its own, and the next second is a new one.
func TestQuotas(t *testing.T) {
	s := newScene(t, Config{Quotas: map[string]int{Cryptographic: 3, "DescribeKey": 1}})
	key := s.key()
	crypt := func() error {
		_, err := s.Encrypt(s.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
		return err
	}
	for range 2 {
		s.refused("the first", crypt(), "")
	}
	_, err := s.GenerateDataKey(s.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256})
	s.refused("the third, of the same class", err, "")
	s.refused("the fourth", crypt(), "ThrottlingException")
	_, err = s.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
	s.refused("another class", err, "")
	s.later(time.Second)
	s.refused("a second later", crypt(), "")
	for name := range PublishedQuotas() {
		if name != Cryptographic && operations()[name] == nil {
			t.Errorf("there is a quota for %s, and no operation", name)
		}
	}
}
