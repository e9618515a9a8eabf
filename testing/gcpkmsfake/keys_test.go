package gcpkmsfake_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

func TestLabels(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key := c.newKey("k", 0)
	update := func(labels map[string]string, mask ...string) error {
		_, err := c.UpdateCryptoKey(t.Context(), &kmspb.UpdateCryptoKeyRequest{
			CryptoKey: &kmspb.CryptoKey{Name: key, Labels: labels}, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask},
		})
		return err
	}
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprintf("k%d", i)] = ""
	}
	for what, labels := range map[string]map[string]string{
		"65": many, "capitals": {"Key": ""}, "a digit first": {"1key": ""}, "no key": {"": "x"}, "a long key": {"k" + strings.Repeat("x", 63): ""},
		"capitals in a value": {"k": "V"}, "a colon": {"k": "a:b"}, "a long value": {"k": strings.Repeat("x", 64)},
	} {
		wantCode(t, what, update(labels, "labels"), codes.InvalidArgument, "label")
	}
	wantCode(t, "no mask", update(nil), codes.InvalidArgument, "update_mask")
	wantCode(t, "a mask of more", update(nil, "labels", "purpose"), codes.InvalidArgument, "purpose")
	delete(many, "k0")
	for _, labels := range []map[string]string{many, {"a": strings.Repeat("x", 63)}} {
		if err := update(labels, "labels"); err != nil {
			t.Fatal(err)
		}
		k, err := c.GetCryptoKey(t.Context(), &kmspb.GetCryptoKeyRequest{Name: key})
		if err != nil || !maps.Equal(k.GetLabels(), labels) {
			t.Errorf("the labels are %v, %v", k.GetLabels(), err)
		}
	}
}
