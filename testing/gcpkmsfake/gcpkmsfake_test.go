package gcpkmsfake_test

import (
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

const ring = "projects/p/locations/l/keyRings/r"

// client is a bare one, which shows what the fake says and no more.
type client struct {
	kmspb.KeyManagementServiceClient
	t *testing.T
	*gcpkmsfake.Server
}

func start(t *testing.T, o gcpkmsfake.Options) client {
	t.Helper()
	s := gcpkmsfake.New(t, o)
	s.AddKeyRing(ring)
	secure := insecure.NewCredentials()
	if o.TLS {
		var err error
		if secure, err = credentials.NewClientTLSFromFile(s.CAFile, ""); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := grpc.NewClient(s.Endpoint, grpc.WithTransportCredentials(secure))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client{kmspb.NewKeyManagementServiceClient(conn), t, s}
}

// newKey makes a key, and answers its name.
func (c client) newKey(id string, level kmspb.ProtectionLevel) string {
	c.t.Helper()
	k, err := c.CreateCryptoKey(c.t.Context(), &kmspb.CreateCryptoKeyRequest{Parent: ring, CryptoKeyId: id, CryptoKey: &kmspb.CryptoKey{
		Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT, VersionTemplate: &kmspb.CryptoKeyVersionTemplate{ProtectionLevel: level},
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	return k.GetName()
}

func (c client) encrypt(name, plain, aad string) *kmspb.EncryptResponse {
	c.t.Helper()
	res, err := c.Encrypt(c.t.Context(), &kmspb.EncryptRequest{Name: name, Plaintext: []byte(plain), AdditionalAuthenticatedData: []byte(aad)})
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c client) decrypt(name string, ciphertext []byte, aad string) (*kmspb.DecryptResponse, error) {
	return c.Decrypt(c.t.Context(), &kmspb.DecryptRequest{Name: name, Ciphertext: ciphertext, AdditionalAuthenticatedData: []byte(aad)})
}

func (c client) addVersion(key string) *kmspb.CryptoKeyVersion {
	c.t.Helper()
	v, err := c.CreateCryptoKeyVersion(c.t.Context(), &kmspb.CreateCryptoKeyVersionRequest{Parent: key, CryptoKeyVersion: &kmspb.CryptoKeyVersion{}})
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c client) setPrimary(key, id string) error {
	_, err := c.UpdateCryptoKeyPrimaryVersion(c.t.Context(), &kmspb.UpdateCryptoKeyPrimaryVersionRequest{Name: key, CryptoKeyVersionId: id})
	return err
}

func (c client) setState(version string, state kmspb.CryptoKeyVersion_CryptoKeyVersionState, mask ...string) error {
	_, err := c.UpdateCryptoKeyVersion(c.t.Context(), &kmspb.UpdateCryptoKeyVersionRequest{
		CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: version, State: state}, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask},
	})
	return err
}

func wantCode(t *testing.T, what string, err error, code codes.Code, says string) {
	t.Helper()
	if status.Code(err) != code || err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want %s %q", what, err, code, says)
	}
}

func crc(data string) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum([]byte(data), crc32.MakeTable(crc32.Castagnoli))))
}

func Example() {
	s, err := gcpkmsfake.Start("127.0.0.1:0", gcpkmsfake.Options{})
	if err != nil {
		panic(err)
	}
	defer s.Stop()
	s.AddKeyRing("projects/p/locations/l/keyRings/r")
	s.Next(1, "*/CreateCryptoKeyVersion", faultplan.Lost()) // a rotation whose answer does not come
	fmt.Println(s.Pending())
	// Output: 1
}
