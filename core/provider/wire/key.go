package wire

import (
	"cmp"
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
		IgnoresAad: d.IgnoresAAD,
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
	out := provider.DescribeKeyResponse{
		KEKID: d.GetKekId(), State: fromKeyState(d.GetState()), Algorithm: d.GetAlgorithm(), PrimaryVersion: d.GetPrimaryVersion(),
		IgnoresAAD: d.GetIgnoresAad(),
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
	return out, checkDescribed(out)
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

// fromWrapped reads a wrap as it stands.
func fromWrapped(w *providerv1.Wrapped) provider.Wrapped {
	return provider.Wrapped{KEKID: w.GetKekId(), KEKVersion: w.GetKekVersion(), Blob: w.GetBlob()}
}

func fromGenerateDataKey(g *providerv1.GenerateDataKeyResponse) (provider.GenerateDataKeyResponse, error) {
	wrapped := fromWrapped(g.GetWrapped())
	if err := cmp.Or(checkWrapped(wrapped), checkRoot(g.GetPlaintext())); err != nil {
		return provider.GenerateDataKeyResponse{}, err
	}
	return provider.GenerateDataKeyResponse{Wrapped: wrapped, Plaintext: provider.NewSecret(g.GetPlaintext())}, nil
}

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
