package gcpkmsfake

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// service is what is registered; methods that are not here are refused as unimplemented.
type service struct {
	kmspb.UnimplementedKeyManagementServiceServer
	*Server
}

// cryptoKey is a key and its versions, the first of which is number 1:
// https://cloud.google.com/kms/docs/object-hierarchy#key_version
type cryptoKey struct {
	info     *kmspb.CryptoKey // without its primary
	primary  int              // zero for none
	former   int              // the primary before, as long as somebody may still see it
	encrypts int              // that still use the former one
	reads    int              // that still show it
	versions []*keyVersion
}

type keyVersion struct {
	info    *kmspb.CryptoKeyVersion
	aes     []byte
	pending int // reads until it is generated
}

// defaultDestruction is how long a destruction is scheduled ahead, since 2024:
// https://cloud.google.com/kms/docs/destroy-restore#destroy
const defaultDestruction = 30 * 24 * time.Hour

// ids are what key rings and keys may be called:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/create
var ids = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,63}$`)

func notFound(kind, name string) error {
	return status.Errorf(codes.NotFound, "%s %s not found.", kind, name)
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func precondition(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

// CreateCryptoKey makes a key and, unless told otherwise, its first version, which is the
// primary of a symmetric key:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/create
func (s service) CreateCryptoKey(_ context.Context, req *kmspb.CreateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := req.GetParent() + "/cryptoKeys/" + req.GetCryptoKeyId()
	info := proto.CloneOf(req.GetCryptoKey())
	switch {
	case s.rings[req.GetParent()] == nil:
		return nil, notFound("KeyRing", req.GetParent())
	case !ids.MatchString(req.GetCryptoKeyId()):
		return nil, invalid("CryptoKey id %q is invalid", req.GetCryptoKeyId())
	case s.keys[name] != nil:
		return nil, status.Errorf(codes.AlreadyExists, "CryptoKey %s already exists.", name)
	case info.GetPurpose() == kmspb.CryptoKey_CRYPTO_KEY_PURPOSE_UNSPECIFIED:
		return nil, invalid("CryptoKey.purpose is required")
	}
	if err := checkLabels(info.GetLabels()); err != nil {
		return nil, err
	}
	if info.GetVersionTemplate() == nil {
		info.VersionTemplate = &kmspb.CryptoKeyVersionTemplate{}
	}
	if info.VersionTemplate.ProtectionLevel == kmspb.ProtectionLevel_PROTECTION_LEVEL_UNSPECIFIED {
		info.VersionTemplate.ProtectionLevel = kmspb.ProtectionLevel_SOFTWARE
	}
	if info.GetPurpose() == kmspb.CryptoKey_ENCRYPT_DECRYPT && info.VersionTemplate.Algorithm == 0 {
		info.VersionTemplate.Algorithm = kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION
	}
	if info.GetDestroyScheduledDuration() == nil {
		info.DestroyScheduledDuration = durationpb.New(defaultDestruction)
	}
	info.Name, info.CreateTime, info.Primary = name, timestamppb.New(s.options.Now()), nil
	k := &cryptoKey{info: info}
	s.keys[name] = k
	if !req.GetSkipInitialVersionCreation() {
		k.add(&s.options)
		if info.GetPurpose() == kmspb.CryptoKey_ENCRYPT_DECRYPT {
			k.primary = 1
		}
	}
	return k.describe(k.primary), nil
}

// checkLabels: https://cloud.google.com/kms/docs/labeling-keys
func checkLabels(labels map[string]string) error {
	if len(labels) > 64 {
		return invalid("a resource has at most 64 labels, not %d", len(labels))
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if !labelKey.MatchString(k) {
			return invalid("label key %q is invalid", k)
		}
		if !labelValue.MatchString(labels[k]) {
			return invalid("value of label %q is invalid", k)
		}
	}
	return nil
}

// International letters, which the page allows, are refused: nobody should rely on them.
var (
	labelKey   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
)

func (k *cryptoKey) add(o *Options) *keyVersion {
	template := k.info.GetVersionTemplate()
	v := &keyVersion{aes: randomBytes(32), info: &kmspb.CryptoKeyVersion{
		Name:            k.info.GetName() + "/cryptoKeyVersions/" + strconv.Itoa(len(k.versions)+1),
		State:           kmspb.CryptoKeyVersion_ENABLED,
		ProtectionLevel: template.GetProtectionLevel(),
		Algorithm:       template.GetAlgorithm(),
		CreateTime:      timestamppb.New(o.Now()),
	}}
	v.info.GenerateTime = v.info.CreateTime
	if o.GenerationReads > 0 {
		v.pending, v.info.State, v.info.GenerateTime = o.GenerationReads, kmspb.CryptoKeyVersion_PENDING_GENERATION, nil
	}
	k.versions = append(k.versions, v)
	return v
}

func (k *cryptoKey) describe(primary int) *kmspb.CryptoKey {
	out := proto.CloneOf(k.info)
	if primary > 0 {
		out.Primary = proto.CloneOf(k.versions[primary-1].info)
	}
	return out
}

func (s service) find(name string) (*cryptoKey, error) {
	if k := s.keys[name]; k != nil {
		return k, nil
	}
	return nil, notFound("CryptoKey", name)
}

// findVersion takes the name of a version.
func (s service) findVersion(name string) (*cryptoKey, *keyVersion, error) {
	key, number, ok := strings.Cut(name, "/cryptoKeyVersions/")
	k := s.keys[key]
	n, err := strconv.Atoi(number)
	if !ok || k == nil || err != nil || n < 1 || n > len(k.versions) {
		return nil, nil, notFound("CryptoKeyVersion", name)
	}
	return k, k.versions[n-1], nil
}

// GetCryptoKey answers a key. That its primary may lag behind is more than the page on
// consistency says of reads, which names Encrypt alone; a provider should bear it.
func (s service) GetCryptoKey(_ context.Context, req *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	if k.reads > 0 {
		k.reads--
		return k.describe(k.former), nil
	}
	return k.describe(k.primary), nil
}

// UpdateCryptoKey replaces the fields of the mask, and labels as a whole:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/patch
func (s service) UpdateCryptoKey(_ context.Context, req *kmspb.UpdateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(req.GetCryptoKey().GetName())
	if err != nil {
		return nil, err
	}
	if err := checkMask(req.GetUpdateMask(), "labels", "next_rotation_time", "rotation_period", "version_template.algorithm"); err != nil {
		return nil, err
	}
	next := proto.CloneOf(k.info)
	for _, path := range req.GetUpdateMask().GetPaths() {
		switch path {
		case "labels":
			if err := checkLabels(req.GetCryptoKey().GetLabels()); err != nil {
				return nil, err
			}
			next.Labels = maps.Clone(req.GetCryptoKey().GetLabels())
		default:
			return nil, status.Errorf(codes.Unimplemented, "gcpkmsfake updates labels alone, not %s", path)
		}
	}
	k.info = next
	return k.describe(k.primary), nil
}

// checkMask refuses a mask that is missing or names what cannot be updated:
// https://cloud.google.com/apis/design/standard_methods#update
func checkMask(mask *fieldmaskpb.FieldMask, allowed ...string) error {
	if len(mask.GetPaths()) == 0 {
		return invalid("update_mask is required")
	}
	for _, path := range mask.GetPaths() {
		if !slices.Contains(allowed, path) {
			return invalid("update_mask holds %q, which is unknown or cannot be updated", path)
		}
	}
	return nil
}

// UpdateCryptoKeyPrimaryVersion takes an enabled version of a symmetric key:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/updatePrimaryVersion
func (s service) UpdateCryptoKeyPrimaryVersion(_ context.Context, req *kmspb.UpdateCryptoKeyPrimaryVersionRequest) (*kmspb.CryptoKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	_, v, err := s.findVersion(fmt.Sprintf("%s/cryptoKeyVersions/%s", req.GetName(), req.GetCryptoKeyVersionId()))
	switch {
	case err != nil:
		return nil, err
	case k.info.GetPurpose() != kmspb.CryptoKey_ENCRYPT_DECRYPT:
		return nil, precondition("%s has no primary version: its purpose is %s", req.GetName(), k.info.GetPurpose())
	case v.info.GetState() != kmspb.CryptoKeyVersion_ENABLED:
		return nil, notEnabled(v)
	}
	if n := slices.Index(k.versions, v) + 1; n != k.primary {
		k.former, k.primary = k.primary, n
		if k.former > 0 {
			k.encrypts, k.reads = s.options.LaggingEncrypts, s.options.LaggingReads
		}
	}
	return k.describe(k.primary), nil
}
