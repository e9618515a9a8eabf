package awskms

import (
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
	"github.com/keyrotor/keyrotor/testing/conformance"
	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// TestConformance runs against rotations that take a moment, as AWS's do, and as an
// identity with the policies of the page.
func TestConformance(t *testing.T) {
	quick := newLab(t, awskmsfake.Config{RotationTakes: 10 * time.Millisecond})
	daily, create := documented(t, "*")
	user := quick.userWith(merge(t, daily, create))
	none := quick.userWith(`{"Statement":[{"Effect":"Allow","Action":"kms:Nothing","Resource":"*"}]}`)
	existing := quick.key()
	spoiled := func(fault faultplan.Fault) provider.Body {
		l := newLab(t, awskmsfake.Config{})
		arn := l.key()
		l.Every("*", fault)
		return l.body(arn, nil)
	}
	disabled := quick.key()
	quick.disable(disabled)
	fails := func(body provider.Body) func(testing.TB) provider.Body {
		return func(testing.TB) provider.Body { return body }
	}
	conformance.Run(t, conformance.Harness{
		Info: Info("test"), Schema: Schema(), New: New,
		Package: "../../plugins/aws-kms",
		KEK:     func(testing.TB) provider.Body { return quick.body(newName("alias/kek"), as(user)) },
		Fails: map[provider.Code]func(testing.TB) provider.Body{
			provider.Unauthenticated: fails(quick.body(existing, as(awskmsfake.Credentials{AccessKeyID: user.AccessKeyID, SecretAccessKey: "another secret"}))),
			provider.Denied:          fails(quick.body(existing, as(none))),
			provider.InvalidConfig:   fails(quick.body(existing, map[string]any{attrProfile: "nobody", attrAccessKeyID: nil, attrSecretAccessKey: nil})),
			provider.Throttled:       fails(spoiled(faultplan.Throttled(0))),
			provider.Unavailable:     fails(spoiled(faultplan.Failed(503))),
		},
	})
}
