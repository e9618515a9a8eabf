package gcpkmsfake

import (
	"context"
	"strconv"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// notEnabled is how Cloud KMS words it: https://cloud.google.com/kms/docs/key-states
func notEnabled(v *keyVersion) error {
	return precondition("%s is not enabled, current state is: %s.", v.info.GetName(), v.info.GetState())
}

// CreateCryptoKeyVersion makes a version, which is not the primary:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/create
func (s service) CreateCryptoKeyVersion(_ context.Context, req *kmspb.CreateCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(req.GetParent())
	switch {
	case err != nil:
		return nil, err
	case req.GetCryptoKeyVersion() == nil:
		return nil, invalid("crypto_key_version is required")
	case k.info.GetImportOnly():
		return nil, precondition("%s is import-only: its versions cannot be generated", req.GetParent())
	}
	return proto.CloneOf(k.add(&s.options).info), nil
}

// GetCryptoKeyVersion answers a version, which may become ready while it is looked at:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/get
func (s service) GetCryptoKeyVersion(_ context.Context, req *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v, err := s.findVersion(req.GetName())
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(v.info)
	if v.pending > 0 {
		if v.pending--; v.pending == 0 {
			v.info.State, v.info.GenerateTime = kmspb.CryptoKeyVersion_ENABLED, timestamppb.New(s.options.Now())
		}
	}
	return out, nil
}

// ListCryptoKeyVersions answers a page at a time, 100 by default and 1000 at most:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/list
func (s service) ListCryptoKeyVersions(_ context.Context, req *kmspb.ListCryptoKeyVersionsRequest) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(req.GetParent())
	if err != nil {
		return nil, err
	}
	size, from := int(req.GetPageSize()), 0
	switch {
	case size < 0 || req.GetFilter() != "" || req.GetOrderBy() != "":
		return nil, invalid("gcpkmsfake lists all versions, in their order")
	case size == 0:
		size = 100
	}
	size = min(size, 1000)
	if req.GetPageToken() != "" {
		if from, err = strconv.Atoi(req.GetPageToken()); err != nil || from < 0 || from > len(k.versions) {
			return nil, invalid("page_token is invalid")
		}
	}
	res := &kmspb.ListCryptoKeyVersionsResponse{TotalSize: int32(len(k.versions))}
	to := min(from+size, len(k.versions))
	for _, v := range k.versions[from:to] {
		res.CryptoKeyVersions = append(res.CryptoKeyVersions, proto.CloneOf(v.info))
	}
	if to < len(k.versions) {
		res.NextPageToken = strconv.Itoa(to)
	}
	return res, nil
}

// UpdateCryptoKeyVersion enables and disables, and nothing else:
// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/patch
func (s service) UpdateCryptoKeyVersion(_ context.Context, req *kmspb.UpdateCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v, err := s.findVersion(req.GetCryptoKeyVersion().GetName())
	if err != nil {
		return nil, err
	}
	if err := checkMask(req.GetUpdateMask(), "state"); err != nil {
		return nil, err
	}
	to := req.GetCryptoKeyVersion().GetState()
	switch to {
	case kmspb.CryptoKeyVersion_ENABLED, kmspb.CryptoKeyVersion_DISABLED:
	default:
		return nil, invalid("state can be set to ENABLED or DISABLED, not %s", to)
	}
	switch v.info.GetState() {
	case kmspb.CryptoKeyVersion_ENABLED, kmspb.CryptoKeyVersion_DISABLED:
	default:
		return nil, precondition("%s cannot be updated, current state is: %s.", v.info.GetName(), v.info.GetState())
	}
	v.info.State = to
	return proto.CloneOf(v.info), nil
}

// DestroyCryptoKeyVersion schedules the end of a version:
// https://cloud.google.com/kms/docs/destroy-restore
func (s service) DestroyCryptoKeyVersion(_ context.Context, req *kmspb.DestroyCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, v, err := s.findVersion(req.GetName())
	if err != nil {
		return nil, err
	}
	switch v.info.GetState() {
	case kmspb.CryptoKeyVersion_ENABLED, kmspb.CryptoKeyVersion_DISABLED:
	default:
		return nil, precondition("%s cannot be destroyed, current state is: %s.", v.info.GetName(), v.info.GetState())
	}
	v.info.State = kmspb.CryptoKeyVersion_DESTROY_SCHEDULED
	v.info.DestroyTime = timestamppb.New(s.options.Now().Add(k.info.GetDestroyScheduledDuration().AsDuration()))
	return proto.CloneOf(v.info), nil
}

// RestoreCryptoKeyVersion takes a destruction back; the version is disabled then:
// https://cloud.google.com/kms/docs/destroy-restore#restore
func (s service) RestoreCryptoKeyVersion(_ context.Context, req *kmspb.RestoreCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v, err := s.findVersion(req.GetName())
	if err != nil {
		return nil, err
	}
	if v.info.GetState() != kmspb.CryptoKeyVersion_DESTROY_SCHEDULED {
		return nil, precondition("%s cannot be restored, current state is: %s.", v.info.GetName(), v.info.GetState())
	}
	v.info.State, v.info.DestroyTime = kmspb.CryptoKeyVersion_DISABLED, nil
	return proto.CloneOf(v.info), nil
}

// Destroy ends a version whose destruction is scheduled, as the time that it waits for
// does. The fake keeps the key, to tell what a ciphertext belongs to; nobody gets at it.
func (s *Server) Destroy(version string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v, err := service{Server: s}.findVersion(version)
	if err != nil {
		return err
	}
	v.info.State, v.info.DestroyEventTime, v.info.DestroyTime = kmspb.CryptoKeyVersion_DESTROYED, timestamppb.New(s.options.Now()), nil
	return nil
}
