package awskms

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
)

// lab is an AWS of a test's own, with an administrator, and a user for the provider.
type lab struct {
	*awskmsfake.Server
	t     testing.TB
	admin *kms.Client
	user  awskmsfake.Credentials
}

func newLab(t testing.TB, c awskmsfake.Config) *lab {
	t.Helper()
	l := &lab{Server: awskmsfake.Start(t, c), t: t}
	l.admin = l.client(l.userWith(awskmsfake.AllowAll), awskmsfake.Region)
	l.user = l.userWith(awskmsfake.AllowAll)
	return l
}

var named atomic.Int64

// newName answers what no other test has.
func newName(prefix string) string { return fmt.Sprintf("%s-%d", prefix, named.Add(1)) }

func (l *lab) userWith(policy string) awskmsfake.Credentials {
	l.t.Helper()
	c, err := l.User(newName("user"), policy)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (l *lab) client(c awskmsfake.Credentials, region string) *kms.Client {
	return kms.New(kms.Options{
		Region: region, BaseEndpoint: &l.URL, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// key makes a key, and answers its ARN.
func (l *lab) key(change ...func(*kms.CreateKeyInput)) string {
	l.t.Helper()
	in := &kms.CreateKeyInput{}
	for _, c := range change {
		c(in)
	}
	out, err := l.admin.CreateKey(context.Background(), in)
	if err != nil {
		l.t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

func (l *lab) alias(arn string) string {
	l.t.Helper()
	name := newName("alias/kek")
	if _, err := l.admin.CreateAlias(context.Background(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &arn}); err != nil {
		l.t.Fatal(err)
	}
	return name
}

// body is a provider block in order, with other attributes on top; nil takes one away.
func (l *lab) body(key string, other map[string]any) provider.Body {
	return with(map[string]any{
		attrKeyID: key, attrEndpoint: l.URL, attrSTSEndpoint: l.URL, attrRegion: awskmsfake.Region,
		attrAccessKeyID: l.user.AccessKeyID, attrSecretAccessKey: provider.NewSecret([]byte(l.user.SecretAccessKey)),
	}, other)
}

func with(attributes, other map[string]any) provider.Body {
	maps.Copy(attributes, other)
	maps.DeleteFunc(attributes, func(_ string, v any) bool { return v == nil })
	return provider.Body{Attributes: attributes}
}

// as is the part of a block that names other credentials.
func as(c awskmsfake.Credentials) map[string]any {
	return map[string]any{attrAccessKeyID: c.AccessKeyID, attrSecretAccessKey: provider.NewSecret([]byte(c.SecretAccessKey))}
}

func open(t testing.TB, body provider.Body) *manager {
	t.Helper()
	km, err := New(context.Background(), provider.Config{Body: body})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = km.Close() })
	return km.(*manager)
}

func (l *lab) open(key string, other map[string]any) *manager {
	l.t.Helper()
	return open(l.t, l.body(key, other))
}

// counts are the requests since [faultplan.Plan.Forget], by name.
func (l *lab) counts() map[string]int {
	out := map[string]int{}
	for _, c := range l.Calls("*") {
		out[strings.TrimPrefix(c.Name, "TrentService.")]++
	}
	return out
}

// wantError holds an error to its code and to what its text must name.
func wantError(t *testing.T, what string, err error, code provider.Code, attribute string, names ...string) {
	t.Helper()
	e, ok := err.(*provider.Error) //nolint:errorlint // the contract's own, not one that wraps it
	if !ok {
		t.Errorf("%s: the error is a %T: %v", what, err, err)
		return
	}
	if e.Code != code || e.Attribute != attribute {
		t.Errorf("%s: got %s %q, want %s %q: %s", what, e.Code, e.Attribute, code, attribute, e.Message)
	}
	for _, name := range names {
		if !strings.Contains(e.Message, name) {
			t.Errorf("%s: the message does not say %q: %s", what, name, e.Message)
		}
	}
}

func root() provider.Secret {
	b := make([]byte, provider.RootSize)
	for i := range b {
		b[i] = byte(i + 1)
	}
	return provider.NewSecret(b)
}

// wrapOne wraps a root and answers the wrap.
func wrapOne(t testing.TB, m *manager, aad string) provider.Wrapped {
	t.Helper()
	out, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root(), AAD: []byte(aad)}})
	if err == nil {
		err = out[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Wrapped
}

// unwrapOne opens a wrap.
func unwrapOne(ctx context.Context, m *manager, w provider.Wrapped, aad string) (provider.UnwrapResult, error) {
	out, err := m.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: w, AAD: []byte(aad)}})
	if err != nil {
		return provider.UnwrapResult{}, err
	}
	return out[0], out[0].Err
}

func primary(t testing.TB, m *manager) string {
	t.Helper()
	d, err := m.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d.PrimaryVersion
}

// clock is a server's or a provider's, that a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }
