package gcpkmsfake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
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

func TestEncryptDecrypt(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key, other := c.newKey("k", 0), c.newKey("other", 0)
	res := c.encrypt(key, "plain", "aad")
	if res.GetName() != key+"/cryptoKeyVersions/1" || res.GetCiphertextCrc32C().GetValue() != crc(string(res.GetCiphertext())).GetValue() ||
		res.GetVerifiedPlaintextCrc32C() || res.GetVerifiedAdditionalAuthenticatedDataCrc32C() {
		t.Errorf("Encrypt answers %v", res)
	}
	back, err := c.decrypt(key, res.GetCiphertext(), "aad")
	if err != nil || string(back.GetPlaintext()) != "plain" || !back.GetUsedPrimary() || back.GetPlaintextCrc32C().GetValue() != crc("plain").GetValue() {
		t.Errorf("Decrypt answers %v, %v", back, err)
	}
	altered := bytes.Clone(res.GetCiphertext())
	altered[len(altered)/2] ^= 1
	for what, try := range map[string]struct {
		key        string
		ciphertext []byte
		aad        string
	}{
		"another AAD": {key, res.GetCiphertext(), "aae"}, "no AAD": {key, res.GetCiphertext(), ""},
		"another key": {other, res.GetCiphertext(), "aad"}, "altered": {key, altered, "aad"},
		"cut short": {key, res.GetCiphertext()[:9], "aad"}, "of no kind": {key, []byte("x"), "aad"},
	} {
		_, err := c.decrypt(try.key, try.ciphertext, try.aad)
		wantCode(t, what, err, codes.InvalidArgument, "Decryption failed")
	}
	_, err = c.decrypt(ring+"/cryptoKeys/none", res.GetCiphertext(), "aad")
	wantCode(t, "no key", err, codes.NotFound, "none")
}

func TestChecksums(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key := c.newKey("k", 0)
	req := &kmspb.EncryptRequest{
		Name: key, Plaintext: []byte("plain"), PlaintextCrc32C: crc("plain"), AdditionalAuthenticatedDataCrc32C: crc(""),
	}
	res, err := c.Encrypt(t.Context(), req)
	if err != nil || !res.GetVerifiedPlaintextCrc32C() || !res.GetVerifiedAdditionalAuthenticatedDataCrc32C() {
		t.Fatalf("Encrypt answers %v, %v", res, err)
	}
	req.PlaintextCrc32C = crc("plane")
	_, err = c.Encrypt(t.Context(), req)
	wantCode(t, "plaintext", err, codes.InvalidArgument, "plaintext_crc32c")
	req.PlaintextCrc32C, req.AdditionalAuthenticatedDataCrc32C = nil, crc("x")
	_, err = c.Encrypt(t.Context(), req)
	wantCode(t, "AAD", err, codes.InvalidArgument, "additional_authenticated_data_crc32c")
	_, err = c.Decrypt(t.Context(), &kmspb.DecryptRequest{Name: key, Ciphertext: res.GetCiphertext(), CiphertextCrc32C: crc("x")})
	wantCode(t, "ciphertext", err, codes.InvalidArgument, "ciphertext_crc32c")
	_, err = c.Decrypt(t.Context(), &kmspb.DecryptRequest{Name: key, Ciphertext: res.GetCiphertext(), AdditionalAuthenticatedDataCrc32C: crc("x")})
	wantCode(t, "AAD of Decrypt", err, codes.InvalidArgument, "additional_authenticated_data_crc32c")
}

func TestSizes(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	software, hsm := c.newKey("k", 0), c.newKey("h", kmspb.ProtectionLevel_HSM)
	for what, try := range map[string]struct {
		key        string
		plain, aad int
		ok         bool
	}{
		"software": {software, 64 << 10, 64 << 10, true}, "a byte more": {software, 64<<10 + 1, 0, false}, "a byte more of AAD": {software, 0, 64<<10 + 1, false},
		"HSM": {hsm, 8<<10 - 9, 9, true}, "HSM, a byte more": {hsm, 8<<10 - 9, 10, false},
	} {
		_, err := c.Encrypt(t.Context(), &kmspb.EncryptRequest{Name: try.key, Plaintext: make([]byte, try.plain), AdditionalAuthenticatedData: make([]byte, try.aad)})
		if try.ok != (err == nil) || !try.ok && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestVersions: each opens what it made, as long as it is enabled.
func TestVersions(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := start(t, gcpkmsfake.Options{Now: func() time.Time { return now }})
	key := c.newKey("k", 0)
	first := c.encrypt(key, "plain", "")
	second := c.addVersion(key)
	if c.encrypt(key, "plain", "").GetName() != first.GetName() {
		t.Error("a new version is the primary at once")
	}
	if named := c.encrypt(second.GetName(), "plain", ""); named.GetName() != second.GetName() {
		t.Errorf("a version that is named is not used: %s", named.GetName())
	}
	if err := c.setPrimary(key, "2"); err != nil {
		t.Fatal(err)
	}
	if got := c.encrypt(key, "plain", "").GetName(); got != second.GetName() {
		t.Errorf("the primary is %s", got)
	}
	if back, err := c.decrypt(key, first.GetCiphertext(), ""); err != nil || back.GetUsedPrimary() {
		t.Errorf("the first version answers %v, %v", back, err)
	}
	v1 := first.GetName()
	wantCode(t, "no mask", c.setState(v1, kmspb.CryptoKeyVersion_DISABLED), codes.InvalidArgument, "update_mask")
	wantCode(t, "another mask", c.setState(v1, kmspb.CryptoKeyVersion_DISABLED, "state", "name"), codes.InvalidArgument, "update_mask")
	wantCode(t, "another state", c.setState(v1, kmspb.CryptoKeyVersion_DESTROYED, "state"), codes.InvalidArgument, "DESTROYED")
	if err := c.setState(v1, kmspb.CryptoKeyVersion_DISABLED, "state"); err != nil {
		t.Fatal(err)
	}
	_, err := c.decrypt(key, first.GetCiphertext(), "")
	wantCode(t, "disabled", err, codes.FailedPrecondition, "current state is: DISABLED")
	wantCode(t, "a disabled primary", c.setPrimary(key, "1"), codes.FailedPrecondition, "DISABLED")
	wantCode(t, "no such primary", c.setPrimary(key, "3"), codes.NotFound, "cryptoKeyVersions/3")
	gone, err := c.DestroyCryptoKeyVersion(t.Context(), &kmspb.DestroyCryptoKeyVersionRequest{Name: v1})
	if err != nil || gone.GetState() != kmspb.CryptoKeyVersion_DESTROY_SCHEDULED || !gone.GetDestroyTime().AsTime().Equal(now.AddDate(0, 0, 30)) {
		t.Errorf("Destroy answers %v, %v", gone, err)
	}
	wantCode(t, "enabling what is to be destroyed", c.setState(v1, kmspb.CryptoKeyVersion_ENABLED, "state"), codes.FailedPrecondition, "DESTROY_SCHEDULED")
	_, err = c.DestroyCryptoKeyVersion(t.Context(), &kmspb.DestroyCryptoKeyVersionRequest{Name: v1})
	wantCode(t, "destroying twice", err, codes.FailedPrecondition, "DESTROY_SCHEDULED")
	restored, err := c.RestoreCryptoKeyVersion(t.Context(), &kmspb.RestoreCryptoKeyVersionRequest{Name: v1})
	if err != nil || restored.GetState() != kmspb.CryptoKeyVersion_DISABLED || restored.GetDestroyTime() != nil {
		t.Errorf("Restore answers %v, %v", restored, err)
	}
	_, err = c.RestoreCryptoKeyVersion(t.Context(), &kmspb.RestoreCryptoKeyVersionRequest{Name: v1})
	wantCode(t, "restoring twice", err, codes.FailedPrecondition, "DISABLED")
	if err := c.Destroy(v1); err != nil {
		t.Fatal(err)
	}
	_, err = c.decrypt(key, first.GetCiphertext(), "")
	wantCode(t, "destroyed", err, codes.FailedPrecondition, "current state is: DESTROYED")
}

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

func TestLag(t *testing.T) {
	c := start(t, gcpkmsfake.Options{LaggingEncrypts: 1, LaggingReads: 1})
	key := c.newKey("k", 0)
	c.addVersion(key)
	if err := c.setPrimary(key, "2"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"1", "2"} {
		if got := c.encrypt(key, "plain", "").GetName(); got != key+"/cryptoKeyVersions/"+want {
			t.Errorf("Encrypt %d uses %s", i, got)
		}
		k, err := c.GetCryptoKey(t.Context(), &kmspb.GetCryptoKeyRequest{Name: key})
		if err != nil || k.GetPrimary().GetName() != key+"/cryptoKeyVersions/"+want {
			t.Errorf("read %d shows %v, %v", i, k.GetPrimary(), err)
		}
	}
}

func TestGeneration(t *testing.T) {
	c := start(t, gcpkmsfake.Options{GenerationReads: 1})
	key := c.newKey("k", 0)
	v := c.addVersion(key)
	wantCode(t, "not ready", c.setPrimary(key, "2"), codes.FailedPrecondition, "PENDING_GENERATION")
	for i, want := range []kmspb.CryptoKeyVersion_CryptoKeyVersionState{kmspb.CryptoKeyVersion_PENDING_GENERATION, kmspb.CryptoKeyVersion_ENABLED} {
		got, err := c.GetCryptoKeyVersion(t.Context(), &kmspb.GetCryptoKeyVersionRequest{Name: v.GetName()})
		if err != nil || got.GetState() != want {
			t.Errorf("read %d shows %v, %v", i, got, err)
		}
	}
}

func TestQuota(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := start(t, gcpkmsfake.Options{WriteQuota: 2, Now: func() time.Time { return now }})
	key := c.newKey("k", 0)
	c.addVersion(key)
	now = now.Add(59 * time.Second)
	err := c.setPrimary(key, "2")
	wantCode(t, "the third write", err, codes.ResourceExhausted, "Quota exceeded")
	for _, d := range status.Convert(err).Details() {
		if retry, ok := d.(*errdetails.RetryInfo); ok && retry.GetRetryDelay().AsDuration() != time.Second {
			t.Errorf("it says to come again after %s", retry.GetRetryDelay().AsDuration())
		}
	}
	c.encrypt(key, "plain", "")
	now = now.Add(time.Second)
	if err := c.setPrimary(key, "2"); err != nil {
		t.Error(err)
	}
}

func TestAuthorize(t *testing.T) {
	c := start(t, gcpkmsfake.Options{TLS: true, Authorize: func(token string) error {
		if token != "good" {
			return errors.New("bad")
		}
		return nil
	}})
	for token, code := range map[string]codes.Code{"good": codes.NotFound, "bad": codes.Unauthenticated, "": codes.Unauthenticated} {
		ctx := t.Context()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		_, err := c.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: "none"})
		wantCode(t, "the token "+token, err, code, "")
	}
}

func TestGrant(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key := c.newKey("k", 0)
	c.Grant("cloudkms.cryptoKeys.get")
	if _, err := c.GetCryptoKey(t.Context(), &kmspb.GetCryptoKeyRequest{Name: key}); err != nil {
		t.Error(err)
	}
	_, err := c.Encrypt(t.Context(), &kmspb.EncryptRequest{Name: key})
	wantCode(t, "what is not granted", err, codes.PermissionDenied, "cloudkms.cryptoKeyVersions.useToEncrypt")
}

// TestFaults: each of the plan's vocabulary, in the words of gRPC; and what is applied.
func TestFaults(t *testing.T) {
	c := start(t, gcpkmsfake.Options{})
	key := c.newKey("k", 0)
	versions := func() int {
		list, err := c.ListCryptoKeyVersions(t.Context(), &kmspb.ListCryptoKeyVersionsRequest{Parent: key})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.GetCryptoKeyVersions())
	}
	for what, f := range map[string]struct {
		fault   faultplan.Fault
		code    codes.Code
		applied int
	}{
		"late": {faultplan.Late(time.Nanosecond), codes.OK, 1}, "throttled": {faultplan.Throttled(time.Second), codes.ResourceExhausted, 0},
		"500": {faultplan.Failed(500), codes.Internal, 0}, "501": {faultplan.Failed(501), codes.Unimplemented, 0},
		"503": {faultplan.Failed(503), codes.Unavailable, 0}, "504": {faultplan.Failed(504), codes.DeadlineExceeded, 0},
		"denied": {faultplan.Refused(), codes.PermissionDenied, 0}, "cut before": {faultplan.Cut(), codes.Unavailable, 0},
		"cut after": {faultplan.Lost(), codes.Unavailable, 1},
		"wrong":     {gcpkmsfake.Wrong(func(v *kmspb.CryptoKeyVersion) { v.Name = "another" }), codes.OK, 1},
	} {
		before := versions()
		c.Next(1, "*/CreateCryptoKeyVersion", f.fault)
		v, err := c.CreateCryptoKeyVersion(t.Context(), &kmspb.CreateCryptoKeyVersionRequest{Parent: key, CryptoKeyVersion: &kmspb.CryptoKeyVersion{}})
		wantCode(t, what, err, f.code, "")
		if got := versions() - before; got != f.applied {
			t.Errorf("%s: it was applied %d times", what, got)
		}
		if what == "wrong" && v.GetName() != "another" {
			t.Errorf("the answer is %v", v)
		}
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.Next(1, "*/Encrypt", faultplan.Late(time.Hour))
	_, err := c.Encrypt(impatient, &kmspb.EncryptRequest{Name: key})
	wantCode(t, "a caller who goes", err, codes.DeadlineExceeded, "")
	if c.Pending() != 0 {
		t.Errorf("%d faults were not used", c.Pending())
	}
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
