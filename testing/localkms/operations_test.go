package localkms

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/keyrotor/keyrotor/testing/awskmsfake"
)

// keys are two of one server.
type keys struct {
	*kms.Client
	one, two string
	wrap     []byte // by one
}

func prepare(t *testing.T, url string, c awskmsfake.Credentials) *keys {
	t.Helper()
	k := &keys{Client: kms.New(kms.Options{
		Region: awskmsfake.Region, BaseEndpoint: &url, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
	})}
	for _, arn := range []*string{&k.one, &k.two} {
		out, err := k.CreateKey(t.Context(), &kms.CreateKeyInput{})
		if err != nil {
			t.Fatal(err)
		}
		*arn = *out.KeyMetadata.Arn
	}
	out, err := k.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &k.one, Plaintext: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	k.wrap = out.CiphertextBlob
	return k
}

// TestOperations compares the two where the suite does not look, call by call. The first
// word is our fake's, which is AWS's documentation; the second is local-kms's.
func TestOperations(t *testing.T) {
	fake := awskmsfake.Start(t, awskmsfake.Config{})
	user, err := fake.User("user", awskmsfake.AllowAll)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := prepare(t, fake.URL, user), prepare(t, start(t), awskmsfake.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "x"})
	tags := func(n int, key string) []types.Tag {
		var out []types.Tag
		for i := range n {
			out = append(out, types.Tag{TagKey: aws.String(fmt.Sprint(key, i)), TagValue: aws.String("v")})
		}
		return out
	}
	for _, c := range []struct {
		what         string
		do           func(context.Context, *keys) error
		ours, theirs string
	}{
		{"Decrypt", func(ctx context.Context, k *keys) error {
			_, err := k.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.one, CiphertextBlob: k.wrap})
			return err
		}, "", ""},
		{"Decrypt with another key", func(ctx context.Context, k *keys) error {
			_, err := k.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.two, CiphertextBlob: k.wrap})
			return err
		}, "IncorrectKeyException", "InvalidCiphertextException"},
		{"Decrypt in another context", func(ctx context.Context, k *keys) error {
			_, err := k.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.one, CiphertextBlob: k.wrap, EncryptionContext: map[string]string{"a": "b"}})
			return err
		}, "InvalidCiphertextException", "InvalidCiphertextException"},
		{"ReEncrypt from another key", func(ctx context.Context, k *keys) error {
			_, err := k.ReEncrypt(ctx, &kms.ReEncryptInput{SourceKeyId: &k.two, DestinationKeyId: &k.two, CiphertextBlob: k.wrap})
			return err
		}, "IncorrectKeyException", ""},
		{"RotateKeyOnDemand", func(ctx context.Context, k *keys) error {
			_, err := k.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &k.one})
			return err
		}, "", "501"},
		{"51 tags", func(ctx context.Context, k *keys) error {
			_, err := k.TagResource(ctx, &kms.TagResourceInput{KeyId: &k.one, Tags: tags(51, "k")})
			return err
		}, "LimitExceededException", ""},
		{"AWS's own tags", func(ctx context.Context, k *keys) error {
			_, err := k.TagResource(ctx, &kms.TagResourceInput{KeyId: &k.one, Tags: tags(1, "aws:k")})
			return err
		}, "TagException", ""},
		{"disabling", func(ctx context.Context, k *keys) error {
			_, err := k.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &k.one})
			return err
		}, "", ""},
		{"Encrypt with a disabled key", func(ctx context.Context, k *keys) error {
			_, err := k.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.one, Plaintext: []byte("x")})
			return err
		}, "DisabledException", "DisabledException"},
		{"Decrypt with a disabled key", func(ctx context.Context, k *keys) error {
			_, err := k.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.one, CiphertextBlob: k.wrap})
			return err
		}, "DisabledException", "DisabledException"},
		{"scheduling a deletion", func(ctx context.Context, k *keys) error {
			_, err := k.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &k.one})
			return err
		}, "", ""},
		{"Encrypt while deletion is pending", func(ctx context.Context, k *keys) error {
			_, err := k.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.one, Plaintext: []byte("x")})
			return err
		}, "KMSInvalidStateException", "KMSInvalidStateException"},
	} {
		for whose, one := range map[string]struct {
			*keys
			want string
		}{"our fake": {ours, c.ours}, "local-kms": {theirs, c.theirs}} {
			if got := word(c.do(t.Context(), one.keys)); got != one.want {
				t.Errorf("%s: %s answers %q, want %q", c.what, whose, got, one.want)
			}
		}
	}
}

// word is an error's code, or its HTTP status where it has none.
func word(err error) string {
	if err == nil {
		return ""
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	var status interface{ HTTPStatusCode() int }
	if errors.As(err, &status) {
		return fmt.Sprint(status.HTTPStatusCode())
	}
	return err.Error()
}
