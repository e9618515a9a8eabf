package awskmsfake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/keyrotor/keyrotor/testing/faultplan"
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

func TestCrypt(t *testing.T) {
	s := newScene(t, Config{})
	key, other := s.key(), s.key()
	ec := map[string]string{"a": "1", "b": "2"}
	blob := s.encrypt(key, ec)
	decrypt := func(change func(*kms.DecryptInput)) error {
		in := &kms.DecryptInput{KeyId: &key, CiphertextBlob: blob, EncryptionContext: ec}
		change(in)
		out, err := s.Decrypt(s.Context(), in)
		if err == nil && (string(out.Plaintext) != "plain" || *out.KeyId != key || len(*out.KeyMaterialId) != 64) {
			t.Errorf("Decrypt answers %+v", out)
		}
		return err
	}
	altered := append([]byte(nil), blob...)
	altered[len(altered)-1] ^= 1
	for what, c := range map[string]struct {
		change func(*kms.DecryptInput)
		code   string
	}{
		"as it is":          {func(*kms.DecryptInput) {}, ""},
		"without a key":     {func(in *kms.DecryptInput) { in.KeyId = nil }, ""},
		"another key":       {func(in *kms.DecryptInput) { in.KeyId = &other }, "IncorrectKeyException"},
		"another context":   {func(in *kms.DecryptInput) { in.EncryptionContext = map[string]string{"a": "1"} }, "InvalidCiphertextException"},
		"altered":           {func(in *kms.DecryptInput) { in.CiphertextBlob = altered }, "InvalidCiphertextException"},
		"nonsense":          {func(in *kms.DecryptInput) { in.CiphertextBlob = []byte("x"); in.KeyId = nil }, "InvalidCiphertextException"},
		"too long":          {func(in *kms.DecryptInput) { in.CiphertextBlob = make([]byte, 6145) }, "ValidationException"},
		"dry":               {func(in *kms.DecryptInput) { in.DryRun = new(true) }, "DryRunOperationException"},
		"a missing key":     {func(in *kms.DecryptInput) { in.KeyId = new("1234abcd-12ab-34cd-56ef-1234567890ab") }, "NotFoundException"},
		"a broken ARN":      {func(in *kms.DecryptInput) { in.KeyId = new("arn:aws:kms") }, "InvalidArnException"},
		"an alias, missing": {func(in *kms.DecryptInput) { in.KeyId = new("alias/none") }, "NotFoundException"},
	} {
		s.refused(what, decrypt(c.change), c.code)
	}
	re := func(from *string) error {
		_, err := s.ReEncrypt(s.Context(), &kms.ReEncryptInput{
			SourceKeyId: from, DestinationKeyId: &other, CiphertextBlob: blob, SourceEncryptionContext: ec,
		})
		return err
	}
	s.refused("ReEncrypt", re(&key), "")
	s.refused("ReEncrypt from another key", re(&other), "IncorrectKeyException")
	for _, in := range []*kms.GenerateDataKeyInput{
		{KeyId: &key}, {KeyId: &key, KeySpec: types.DataKeySpecAes256, NumberOfBytes: new(int32(32))}, {KeyId: &key, NumberOfBytes: new(int32(1025))},
	} {
		_, err := s.GenerateDataKey(s.Context(), in)
		s.refused("GenerateDataKey", err, "ValidationException")
	}
	_, err := s.Encrypt(s.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: make([]byte, 4097)})
	s.refused("4097 bytes", err, "ValidationException")
	mac, err := s.CreateKey(s.Context(), &kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Encrypt(s.Context(), &kms.EncryptInput{KeyId: mac.KeyMetadata.KeyId, Plaintext: []byte("x")})
	s.refused("an HMAC key", err, "InvalidKeyUsageException")
}

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

func TestTagsAndAliases(t *testing.T) {
	s := newScene(t, Config{})
	key := s.key()
	tagWith := func(name *string, key, value string, n int) error {
		var tags []types.Tag
		for i := range n {
			k := key
			if n > 1 {
				k = fmt.Sprintf("%s%d", key, i)
			}
			tags = append(tags, types.Tag{TagKey: new(k), TagValue: new(value)})
		}
		_, err := s.TagResource(s.Context(), &kms.TagResourceInput{KeyId: name, Tags: tags})
		return err
	}
	_, err := s.CreateAlias(s.Context(), &kms.CreateAliasInput{AliasName: new("alias/a"), TargetKeyId: &key})
	s.refused("an alias", err, "")
	for what, c := range map[string]struct {
		name       *string
		key, value string
		n          int
		code       string
	}{
		"the longest":         {&key, strings.Repeat("k", 128), strings.Repeat("v", 256), 1, ""},
		"a key of 129":        {&key, strings.Repeat("k", 129), "", 1, "ValidationException"},
		"a value of 257":      {&key, "k", strings.Repeat("v", 257), 1, "ValidationException"},
		"all its characters":  {&key, "keyrotor:1a_b.c/d=e+f-g@h i", "ä", 1, ""},
		"another character":   {&key, "k", "a;b", 1, "TagException"},
		"AWS's prefix":        {&key, "AWS:x", "", 1, "TagException"},
		"fifty-one":           {&key, "n", "", 51, "LimitExceededException"},
		"by alias":            {new("alias/a"), "k", "", 1, "NotFoundException"},
		"by the alias's ARN":  {new("arn:aws:kms:eu-west-1:111122223333:alias/a"), "k", "", 1, "NotFoundException"},
		"a key that is not":   {new("1234abcd-12ab-34cd-56ef-1234567890ab"), "k", "", 1, "NotFoundException"},
		"of another region":   {new(strings.Replace(key, "eu-west-1", "eu-west-2", 1)), "k", "", 1, "NotFoundException"},
		"of another account":  {new(strings.Replace(key, Account, "444455556666", 1)), "k", "", 1, "NotFoundException"},
		"an odd kind of name": {new("arn:aws:kms:eu-west-1:111122223333:thing/x"), "k", "", 1, "InvalidArnException"},
	} {
		s.refused(what, tagWith(c.name, c.key, c.value, c.n), c.code)
	}
	_, err = s.UntagResource(s.Context(), &kms.UntagResourceInput{KeyId: &key, TagKeys: []string{strings.Repeat("k", 128), "none"}})
	s.refused("untagging", err, "")
	tags, err := s.ListResourceTags(s.Context(), &kms.ListResourceTagsInput{KeyId: &key})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("the tags are %+v, %v", tags, err)
	}

	other := s.key()
	for name, code := range map[string]string{
		"alias/a": "AlreadyExistsException", "alias/aws/x": "InvalidAliasNameException", "a": "InvalidAliasNameException",
	} {
		_, err := s.CreateAlias(s.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &other})
		s.refused(name, err, code)
	}
	_, err = s.UpdateAlias(s.Context(), &kms.UpdateAliasInput{AliasName: new("alias/a"), TargetKeyId: &other})
	s.refused("moving an alias", err, "")
	d, err := s.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: new("alias/a")})
	if err != nil || *d.KeyMetadata.Arn != other {
		t.Errorf("the alias names %+v, %v", d, err)
	}
	aliases, err := s.ListAliases(s.Context(), &kms.ListAliasesInput{})
	if err != nil || len(aliases.Aliases) != 1 {
		t.Errorf("the aliases are %+v, %v", aliases, err)
	}
	_, err = s.DeleteAlias(s.Context(), &kms.DeleteAliasInput{AliasName: new("alias/a")})
	s.refused("deleting it", err, "")
	_, err = s.DeleteAlias(s.Context(), &kms.DeleteAliasInput{AliasName: new("alias/a")})
	s.refused("deleting it again", err, "NotFoundException")
}

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

func TestSignatures(t *testing.T) {
	s := newScene(t, Config{})
	key := s.key()
	user, err := s.server.User("user", AllowAll)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.server.User("limited", `{"Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`)
	if err == nil {
		t.Error("a statement that denies is accepted, and nothing here knows of that")
	}
	limited, err := s.server.User("limited", `{"Statement":[{"Effect":"Allow","Action":"kms:Enc*","Resource":"`+key+`"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		who  Credentials
		code string
	}{
		"right":          {user, ""},
		"unknown":        {Credentials{AccessKeyID: "AKIA", SecretAccessKey: "another secret"}, "UnrecognizedClientException"},
		"another secret": {Credentials{AccessKeyID: user.AccessKeyID, SecretAccessKey: "another secret"}, "InvalidSignatureException"},
		"a token":        {Credentials{user.AccessKeyID, user.SecretAccessKey, "x"}, "UnrecognizedClientException"},
		"without rights": {limited, "AccessDeniedException"},
	} {
		_, err := s.as(c.who).DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
		s.refused(what, err, c.code)
	}
	_, err = s.as(limited).Encrypt(s.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
	s.refused("with the right", err, "")
	// A signature is good for the bytes that were signed, and for five minutes.
	tampered := s.as(user, func(o *kms.Options) {
		o.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"KeyId":"alias/other"}`)), 23
			return http.DefaultClient.Do(r)
		})
	})
	_, err = tampered.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
	s.refused("another body", err, "InvalidSignatureException")
	old := s.as(user, func(o *kms.Options) {
		o.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
			at := time.Now().Add(-10 * time.Minute).UTC()
			r.Header.Set("X-Amz-Date", at.Format(timeForm))
			return http.DefaultClient.Do(r)
		})
	})
	_, err = old.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
	s.refused("an old date", err, "InvalidSignatureException")
	resp, err := http.Post(s.server.URL, "application/x-amz-json-1.1", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(body), "UnknownOperationException") {
		t.Errorf("no operation: %d %s", resp.StatusCode, body)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

func TestFaults(t *testing.T) {
	s := newScene(t, Config{})
	key := s.key()
	disable := func() error {
		_, err := s.DisableKey(s.Context(), &kms.DisableKeyInput{KeyId: &key})
		return err
	}
	on := func() bool {
		t.Helper()
		out, err := s.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: &key})
		if err != nil {
			t.Fatal(err)
		}
		return out.KeyMetadata.Enabled
	}
	for what, c := range map[string]struct {
		fault faultplan.Fault
		code  string
	}{
		"throttled": {faultplan.Throttled(time.Second), "ThrottlingException"},
		"failed":    {faultplan.Failed(503), "KMSInternalException"},
		"refused":   {faultplan.Refused(), "AccessDeniedException"},
	} {
		s.server.Next(1, "TrentService.DisableKey", c.fault)
		s.refused(what, disable(), c.code)
	}
	s.server.Next(1, "TrentService.DisableKey", faultplan.Cut())
	if err := disable(); err == nil || !on() {
		t.Errorf("cut before: %v, enabled %t", err, on())
	}
	s.server.Next(1, "TrentService.DisableKey", faultplan.Lost())
	if err := disable(); err == nil || on() {
		t.Errorf("cut after: %v, enabled %t", err, on())
	}
	s.server.Next(1, "TrentService.DescribeKey", faultplan.Wrong(func(b []byte) []byte {
		return []byte(strings.Replace(string(b), `"Enabled":false`, `"Enabled":true`, 1))
	}))
	if !on() {
		t.Error("the answer was not changed")
	}
	s.server.Next(1, "TrentService.DescribeKey", faultplan.Late(time.Hour))
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a late answer: %v", err)
	}
}
