package wire

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

func toDescribeKey(d provider.DescribeKeyResponse) (*providerv1.DescribeKeyResponse, error) {
	out := &providerv1.DescribeKeyResponse{
		KekId: d.KEKID, State: toKeyState(d.State), Algorithm: d.Algorithm, PrimaryVersion: d.PrimaryVersion,
	}
	if out.GetState() == providerv1.KeyState_KEY_STATE_UNSPECIFIED {
		return nil, provider.Errorf(provider.Internal, "DescribeKey answered the unknown state %q", d.State)
	}
	for _, v := range d.Versions {
		state := toKeyState(v.State)
		if state == providerv1.KeyState_KEY_STATE_UNSPECIFIED {
			return nil, provider.Errorf(provider.Internal, "DescribeKey answered the unknown state %q of version %q", v.State, v.Version)
		}
		out.Versions = append(out.Versions, &providerv1.KeyVersion{Version: v.Version, State: state, Created: toTime(v.Created)})
	}
	return out, nil
}

func fromDescribeKey(d *providerv1.DescribeKeyResponse) (provider.DescribeKeyResponse, error) {
	if d.GetKekId() == "" {
		return provider.DescribeKeyResponse{}, errNoKEK()
	}
	out := provider.DescribeKeyResponse{
		KEKID: d.GetKekId(), State: fromKeyState(d.GetState()), Algorithm: d.GetAlgorithm(), PrimaryVersion: d.GetPrimaryVersion(),
	}
	if out.State == "" {
		return provider.DescribeKeyResponse{}, fmt.Errorf("unknown key state %d", d.GetState())
	}
	for i, v := range d.GetVersions() {
		version, err := fromKeyVersion(v)
		if err != nil {
			return provider.DescribeKeyResponse{}, fmt.Errorf("version %d: %w", i, err)
		}
		out.Versions = append(out.Versions, version)
	}
	return out, nil
}

func fromKeyVersion(v *providerv1.KeyVersion) (provider.KeyVersion, error) {
	created, err := fromTime(v.GetCreated())
	if err != nil {
		return provider.KeyVersion{}, err
	}
	out := provider.KeyVersion{Version: v.GetVersion(), State: fromKeyState(v.GetState()), Created: created}
	switch {
	case out.Version == "":
		return provider.KeyVersion{}, errors.New("the version is empty")
	case out.State == "":
		return provider.KeyVersion{}, fmt.Errorf("unknown key state %d", v.GetState())
	default:
		return out, nil
	}
}

func toWrapped(w provider.Wrapped) *providerv1.Wrapped {
	return &providerv1.Wrapped{KekId: w.KEKID, KekVersion: w.KEKVersion, Blob: w.Blob}
}

// fromWrapped reads a wrap as it stands; an empty one is for the caller to judge.
func fromWrapped(w *providerv1.Wrapped) provider.Wrapped {
	return provider.Wrapped{KEKID: w.GetKekId(), KEKVersion: w.GetKekVersion(), Blob: w.GetBlob()}
}

// fromAnsweredWrap reads a wrap that a plugin answered.
func fromAnsweredWrap(w *providerv1.Wrapped) (provider.Wrapped, error) {
	switch {
	case w.GetKekId() == "":
		return provider.Wrapped{}, errNoKEK()
	case len(w.GetBlob()) == 0:
		return provider.Wrapped{}, errors.New("the wrap's blob is empty")
	default:
		return fromWrapped(w), nil
	}
}

func fromGenerateDataKey(g *providerv1.GenerateDataKeyResponse) (provider.GenerateDataKeyResponse, error) {
	wrapped, err := fromAnsweredWrap(g.GetWrapped())
	if err != nil {
		return provider.GenerateDataKeyResponse{}, err
	}
	if n := len(g.GetPlaintext()); n != provider.RootSize {
		return provider.GenerateDataKeyResponse{}, fmt.Errorf("the plaintext has %d bytes instead of %d", n, provider.RootSize)
	}
	return provider.GenerateDataKeyResponse{Wrapped: wrapped, Plaintext: provider.NewSecret(g.GetPlaintext())}, nil
}

// fromRotateKey holds an answer to the contract: a new version, or pending.
func fromRotateKey(r *providerv1.RotateKeyResponse) (provider.RotateKeyResponse, error) {
	out := provider.RotateKeyResponse{OldVersion: r.GetOldVersion(), NewVersion: r.GetNewVersion(), Pending: r.GetPending()}
	switch {
	case out.Pending && out.NewVersion != "":
		return provider.RotateKeyResponse{}, fmt.Errorf("the rotation is pending and names the new version %q", out.NewVersion)
	case !out.Pending && out.NewVersion == "":
		return provider.RotateKeyResponse{}, errors.New("the rotation is not pending and names no new version")
	case !out.Pending && out.NewVersion == out.OldVersion:
		return provider.RotateKeyResponse{}, fmt.Errorf("the new version %q is the old one", out.NewVersion)
	default:
		return out, nil
	}
}

func errNoKEK() error { return errors.New("the key-encryption key's id is empty") }

// toTime sends the zero time as no time at all.
func toTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromTime(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, fmt.Errorf("a time is out of range: %w", err)
	}
	return t.AsTime(), nil
}
