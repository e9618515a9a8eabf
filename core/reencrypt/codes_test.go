package reencrypt

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

func TestTokenCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Code
	}{
		{keyring.ErrMalformed, "malformed"},
		{keyring.ErrUnknownKey, "unknown_key"},
		{keyring.ErrUnknownVersion, "unknown_version"},
		{keyring.ErrState, "state"},
		{keyring.ErrNoPrimary, "state"},
		{keyring.ErrAuthentication, "authentication"},
		{keyring.ErrIntegrity, "integrity"},
		{keyring.ErrUsageLimit, "usage_limit"},
		{keyring.ErrFIPS, "fips"},
		{provider.Errorf(provider.NotFoundKey, "gone"), "provider_not_found_key"},
		{provider.Errorf(provider.Throttled, "slower"), "provider_throttled"},
		{errors.New("disk I/O error"), "internal"},
		{fs.ErrPermission, "internal"}, // of the store's file, not of the user's
	} {
		if got := tokenCode(fmt.Errorf("wrapped: %w", c.err)); got != c.want {
			t.Errorf("%v has code %s, want %s", c.err, got, c.want)
		}
	}
}

func TestFileCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Code
	}{
		{errChanged, "changed"},
		{&fs.PathError{Op: "open", Path: "f", Err: fs.ErrPermission}, "permission"},
		{fs.ErrNotExist, "io"},
		{errors.New("input/output error"), "io"},
	} {
		if got := fileCode(fmt.Errorf("wrapped: %w", c.err)); got != c.want {
			t.Errorf("%v has code %s, want %s", c.err, got, c.want)
		}
	}
}
