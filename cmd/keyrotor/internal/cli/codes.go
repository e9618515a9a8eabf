package cli

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/backup"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/draft"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// The codes that stand for no error of the core.
const (
	codeUsage       = "usage"
	codeInterrupted = "interrupted"
	codeTimeout     = "timeout"
	codeOther       = "error"
)

// providerPrefix and a key manager's code in lower case make a code.
const providerPrefix = "provider_"

// errNoConfig: nothing says which config file to use.
var errNoConfig = errors.New("no config file is named: give --config FILE or set " + configVariable +
	"; 'keyrotor init DIR' makes one")

// errTooLarge: the input is more than can be one value or one token.
var errTooLarge = errors.New("the input is too large")

// errEmpty: there is nothing to decrypt.
var errEmpty = errors.New("the input is empty; pass a token, e.g. printf '%s' \"$TOKEN\" | keyrotor decrypt")

// errUnhealthy: something did not pass its check.
var errUnhealthy = errors.New("not in order")

// code is the name of a failure, which scripts may act on.
type code struct {
	name string
	// is reports whether an error is of this kind; nil if describe finds out.
	is    func(error) bool
	about string
}

// codes lists what tells failures apart. The first that fits an error is its code.
func codes() []code {
	return []code{
		{codeUsage, nil, "the command line is wrong"},
		{codeInterrupted, nil, "a signal ended the command"},
		{codeTimeout, nil, "--timeout was over"},
		{"no_config", is(errNoConfig), "no config file is named"},
		{"config", func(err error) bool { return len(problems(err)) > 0 }, "the config is not valid; see problems"},
		{"partly_done", as[*partlyError], "some of the work could not be done, and was listed"},
		{"check_failed", is(errUnhealthy), "a provider, or what doctor looked at, is not in order"},
		{"unknown_provider", as[*catalog.UnknownProviderError], "the config has no such provider"},
		{"plugin_not_pinned", as[*catalog.NotPinnedError], "plugins.lock does not trust the plugin"},
		{"plugin_changed", as[*catalog.MismatchError], "the plugin is not the binary that plugins.lock pins"},
		{"integrity", is(keyring.ErrIntegrity), "a key or its record was tampered with"},
		{"invalid_name", is(keyring.ErrInvalidName), "no key may have this name"},
		{"unknown_key", is(keyring.ErrUnknownKey), "the store has no such key"},
		{"unknown_version", is(keyring.ErrUnknownVersion), "the key has no such version"},
		{"unknown_event", is(history.ErrNoEvent), "the history has no such event"},
		{"key_exists", is(store.ErrKeyExists), "the name is taken, now or in the past"},
		{"other_key", is(core.ErrOtherKey), "the key exists, and its versions are not those that were given"},
		{"invalid_label", is(keyring.ErrLabel), "no version may have this label, or another one has it"},
		{"restored", is(rotation.ErrRestored), "the key came out of a backup; run 'keyrotor recover'"},
		{"no_primary", is(keyring.ErrNoPrimary), "the key has no version that encrypts"},
		{"state", is(keyring.ErrState), "the version's state does not allow it"},
		{"destruction_refused", as[*destruction.RefusedError], "a version cannot be destroyed yet; see reasons"},
		{"bad_key_material", is(keyring.ErrMaterial), "what was to be imported is no key"},
		{"weak_key_material", is(keyring.ErrWeak), "what was to be imported could be guessed, or is known"},
		{"malformed", is(keyring.ErrMalformed), "not a ciphertext, or a truncated one"},
		{"authentication", is(keyring.ErrAuthentication), "another AAD than at encryption, or altered bytes"},
		{"empty", is(errEmpty), "there is nothing to decrypt"},
		{"too_large", func(err error) bool {
			return errors.Is(err, keyring.ErrTooLarge) || errors.Is(err, errTooLarge)
		}, "the value is over 64 MiB"},
		{"usage_limit", is(keyring.ErrUsageLimit), "the version may not encrypt any more; rotate the key"},
		{"fips", is(keyring.ErrFIPS), "not available in FIPS 140 mode"},
		{"rotated", is(rotation.ErrRotated), "another process rotated the key meanwhile"},
		{"kek_rotated", is(rewrap.ErrKEKRotated), "somebody else rotated the key-encryption key meanwhile"},
		{"not_wrapped", is(rewrap.ErrNotWrapped), "the provider does not wrap the key"},
		{"fenced", is(store.ErrFenced), "another process took the key over; nothing was done"},
		{"held", as[*store.HeldError], "another process works on the key"},
		{"store_damaged", func(err error) bool {
			return errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrRecord)
		}, "the store is damaged"},
		{"store_schema", is(store.ErrSchema), "the store was written by another build"},
		{"store_foreign", is(store.ErrForeign), "the file is no store of Keyrotor"},
		{"store_busy", is(store.ErrBusy), "other processes kept the store locked"},
		{"store_full", func(err error) bool {
			return errors.Is(err, store.ErrFull) || errors.Is(err, draft.ErrFull)
		}, "there is no room left for the store, or its backup"},
		{"store_read_only", is(store.ErrReadOnly), "the store cannot be written"},
		{"backup_damaged", is(backup.ErrDamaged), "the file is no backup, or not as it was written"},
		{"newer", is(keyring.ErrNewer), "a newer build wrote it"},
		{"unread", is(core.ErrUnread), "a file that had to be searched cannot be read; nothing was done"},
		{"implausible", is(core.ErrImplausible), "a file names a version that the key can hardly have had"},
		{"no_room", func(err error) bool {
			return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
		}, "there is no room left for a file"},
		{"unknown_target", is(notify.ErrUnknownTarget), "the config has no notify block of that name"},
		{"not_delivered", is(errUndelivered), "a target did not take what it was told"},
		{"exists", is(fs.ErrExist), "a file is there already"},
		{"not_found", is(fs.ErrNotExist), "a file is missing"},
		{"permission", is(fs.ErrPermission), "the operating system refused"},
		{codeOther, nil, "anything else"},
	}
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// codeOf answers the code of an error of the core.
func codeOf(err error) string {
	for _, c := range codes() {
		if c.is != nil && c.is(err) {
			return c.name
		}
	}
	if as[*provider.Error](err) {
		return providerPrefix + strings.ToLower(string(provider.CodeOf(err)))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return codeTimeout
	}
	return codeOther
}
