package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/backup"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

func TestCodeOf(t *testing.T) {
	for want, err := range map[string]error{
		"no_config":              errNoConfig,
		"partly_done":            &partlyError{"2 failures"},
		"check_failed":           fmt.Errorf("%w: 1 of 2 providers", errUnhealthy),
		"unknown_provider":       fmt.Errorf("key: %w", &catalog.UnknownProviderError{Name: "x"}),
		"plugin_not_pinned":      &catalog.NotPinnedError{Type: "x"},
		"plugin_changed":         &catalog.MismatchError{Type: "x"},
		"invalid_name":           keyring.ErrInvalidName,
		"unknown_key":            fmt.Errorf("read: %w", keyring.ErrUnknownKey),
		"unknown_version":        keyring.ErrUnknownVersion,
		"other_key":              core.ErrOtherKey,
		"invalid_label":          keyring.ErrLabel,
		"key_exists":             store.ErrKeyExists,
		"no_primary":             keyring.ErrNoPrimary,
		"restored":               fmt.Errorf("%w: run it", rotation.ErrRestored),
		"backup_damaged":         backup.ErrDamaged,
		"newer":                  keyring.ErrNewer,
		"unread":                 core.ErrUnread,
		"implausible":            core.ErrImplausible,
		"state":                  keyring.ErrState,
		"malformed":              keyring.ErrMalformed,
		"authentication":         keyring.ErrAuthentication,
		"integrity":              keyring.ErrIntegrity,
		"too_large":              keyring.ErrTooLarge,
		"usage_limit":            keyring.ErrUsageLimit,
		"fips":                   keyring.ErrFIPS,
		"rotated":                rotation.ErrRotated,
		"kek_rotated":            rewrap.ErrKEKRotated,
		"not_wrapped":            rewrap.ErrNotWrapped,
		"fenced":                 store.ErrFenced,
		"held":                   &store.HeldError{},
		"store_damaged":          store.ErrCorrupt,
		"store_schema":           store.ErrSchema,
		"store_foreign":          store.ErrForeign,
		"store_busy":             store.ErrBusy,
		"store_full":             store.ErrFull,
		"store_read_only":        store.ErrReadOnly,
		"exists":                 fs.ErrExist,
		"not_found":              fs.ErrNotExist,
		"permission":             fs.ErrPermission,
		"provider_denied":        fmt.Errorf("wrap: %w", provider.Errorf(provider.Denied, "no")),
		"provider_not_found_key": provider.Errorf(provider.NotFoundKey, "gone"),
		"provider_unavailable":   provider.Errorf(provider.Unavailable, "%w: a call may take 10s", context.DeadlineExceeded),
		"timeout":                context.DeadlineExceeded,
		"error":                  errors.New("anything"),
	} {
		if got := codeOf(err); got != want {
			t.Errorf("codeOf(%v) = %q, want %q", err, got, want)
		}
	}
}

func TestCodesAreUnique(t *testing.T) {
	var names []string
	for _, c := range codes() {
		names = append(names, c.name)
		if c.about == "" {
			t.Errorf("%s is not explained", c.name)
		}
	}
	slices.Sort(names)
	if got := slices.Compact(slices.Clone(names)); len(got) != len(names) {
		t.Errorf("a code stands twice in %q", names)
	}
}

func TestDescribe(t *testing.T) {
	bad := &config.Error{Problems: []config.Problem{{File: "a.hcl", Line: 3, Column: 1, Summary: "unknown block"}}}
	other := &config.Error{Problems: []config.Problem{{File: "b.hcl", Line: 5, Column: 2, Summary: "missing attribute"}}}
	stopped, stop := context.WithCancelCause(t.Context())
	stop(signalError{syscall.SIGTERM})
	late, cancel := context.WithTimeoutCause(t.Context(), 0, timeoutError{3 * time.Second})
	defer cancel()
	root := newApp().rootCommand()

	for _, c := range []struct {
		name string
		ctx  func() context.Context
		err  error
		want failure
		text string
	}{
		{
			"usage", t.Context, misuse(root, "unknown flag"),
			failure{Code: "usage", Message: "unknown flag", ExitCode: 2, See: "keyrotor --help"},
			"unknown flag; see 'keyrotor --help'",
		},
		{
			"partly", t.Context, &partlyError{"1 failure"},
			failure{Code: "partly_done", Message: "1 failure", ExitCode: 3},
			"1 failure",
		},
		{
			"a signal, whatever came of it", func() context.Context { return stopped }, provider.Errorf(provider.Unavailable, "cut off"),
			failure{Code: "interrupted", Message: "stopped by signal: terminated", ExitCode: 143},
			"stopped by signal: terminated",
		},
		{
			"a signal in the middle of many", func() context.Context { return stopped }, errors.Join(&partlyError{"1 failure"}, context.Canceled),
			failure{Code: "interrupted", Message: "stopped by signal: terminated", ExitCode: 143},
			"stopped by signal: terminated",
		},
		{
			"too late", func() context.Context { return late }, context.DeadlineExceeded,
			failure{Code: "timeout", Message: "not done within 3s, the limit that --timeout sets", ExitCode: 1},
			"not done within 3s, the limit that --timeout sets",
		},
		{
			"too late, and where", func() context.Context { return late }, errors.New("wait for the key: context deadline exceeded"),
			failure{Code: "timeout", Message: "not done within 3s, the limit that --timeout sets: wait for the key: context deadline exceeded", ExitCode: 1},
			"not done within 3s, the limit that --timeout sets: wait for the key: context deadline exceeded",
		},
		{
			"throttled", t.Context, &provider.Error{Code: provider.Throttled, Message: "slow down", RetryAfter: 1500 * time.Millisecond},
			failure{Code: "provider_throttled", Message: "THROTTLED: slow down", ExitCode: 1, RetryAfter: 1.5},
			"THROTTLED: slow down",
		},
		{
			"problems of several blocks", t.Context, fmt.Errorf("open: %w", errors.Join(bad, other)),
			failure{
				Code: "config", ExitCode: 1, Problems: append(slices.Clone(bad.Problems), other.Problems...),
				Message: "the config is not valid:\nopen: a.hcl:3:1: unknown block\nb.hcl:5:2: missing attribute",
			},
			"the config is not valid:\n  open: a.hcl:3:1: unknown block\n  b.hcl:5:2: missing attribute",
		},
	} {
		got := describe(c.ctx(), c.err)
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if got.text() != c.text {
			t.Errorf("%s: text %q, want %q", c.name, got.text(), c.text)
		}
	}
}
