package awskmsfake

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
)

// scene is a server, AWS's own client, and a clock.
type scene struct {
	*kms.Client
	*testing.T
	server *Server
	offset atomic.Int64
}

func newScene(t *testing.T, c Config) *scene {
	t.Helper()
	s := &scene{T: t}
	start := time.Now().Truncate(time.Second) // it stands still until the test moves it
	c.Now = func() time.Time { return start.Add(time.Duration(s.offset.Load())) }
	s.server = Start(t, c)
	user, err := s.server.User("admin", AllowAll)
	if err != nil {
		t.Fatal(err)
	}
	s.Client = s.as(user)
	return s
}

func (s *scene) as(c Credentials, change ...func(*kms.Options)) *kms.Client {
	return kms.New(kms.Options{
		Region: Region, BaseEndpoint: &s.server.URL, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	}, change...)
}

func (s *scene) later(d time.Duration) { s.offset.Add(int64(d)) }

func (s *scene) key() string {
	s.Helper()
	out, err := s.CreateKey(s.Context(), &kms.CreateKeyInput{})
	if err != nil {
		s.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// refused holds an error to AWS's code; an empty one is success.
func (s *scene) refused(what string, err error, code string) {
	s.Helper()
	if code == "" && err == nil {
		return
	}
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != code {
		s.Errorf("%s: %v, want %q", what, err, code)
	}
}

func (s *scene) encrypt(key string, ec map[string]string) []byte {
	s.Helper()
	out, err := s.Encrypt(s.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("plain"), EncryptionContext: ec})
	if err != nil {
		s.Fatal(err)
	}
	return out.CiphertextBlob
}
