package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/core/store"
)

// The details of an event reencrypted that is about secret values. Names and content are
// final: numbers in decimal, versions ascending with commas between. The event's count is
// how many values were changed, and its version the one that they are under now; if it
// was not the same for all, the highest.
const (
	detailSubject   = "subject"   // "secret values"
	detailFrom      = "from"      // the versions that they were under
	detailTo        = "to"        // those that they are under
	detailFailed    = "failed"    // how many failed
	detailUntouched = "untouched" // how many were not reached
	secretValues    = "secret values"
)

// recordTimeout bounds what is recorded after a rotation of values, which the caller's
// context is not to cut short.
const recordTimeout = 10 * time.Second

// SecureValuesOptions say how secret values are rotated, and what is recorded of it. The
// zero value is ready.
type SecureValuesOptions struct {
	secret.RotateOptions
	// Reason is keyring.ReasonManual if it is empty.
	Reason keyring.Reason
	// Note is free text of the operator.
	Note string
}

// RotateSecureValues re-encrypts secret values to the primary versions of their keys,
// several at a time. A value that fails stays readable under the version that it was
// under, and stops no other; the report says what became of each. Values may be read all
// the while.
//
// Of each key whose values were changed, or failed to, the history gets one event
// (reencrypted). The error is the context's, or says that an event could not be recorded;
// the report is complete in any case. What is wrong with the options changes nothing:
// history.ErrText for a note that no event may hold.
func (kr *Keyrotor) RotateSecureValues(ctx context.Context, values []secret.Rotatable, o SecureValuesOptions) (secret.Report, error) {
	o.Reason = cmp.Or(o.Reason, keyring.ReasonManual)
	if !o.Reason.Valid() {
		return secret.Report{}, fmt.Errorf("rotate secret values: there is no reason %q: use one of %q", o.Reason, keyring.Reasons())
	}
	template := history.Event{
		Type: history.Reencrypted, Actor: kr.actor, Operation: uuid.NewString(), Reason: string(o.Reason), Note: o.Note,
	}
	if err := template.Check(); err != nil {
		return secret.Report{}, fmt.Errorf("rotate secret values: %w", err)
	}
	report, err := secret.Rotate(ctx, kr.Engine, values, o.RotateOptions)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return report, errors.Join(err, kr.recordReencrypted(ctx, template, report))
}

// recordReencrypted appends an event for each key.
func (kr *Keyrotor) recordReencrypted(ctx context.Context, template history.Event, report secret.Report) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(report.Keys)) {
		c := report.Keys[key]
		if c.Changed == 0 && c.Failed == 0 {
			continue
		}
		_, err := kr.store.Update(ctx, store.Update{Name: key, Apply: func(*keyring.Record) ([]history.Event, error) {
			return []history.Event{reencryptedEvent(template, c)}, nil
		}})
		if err != nil && !errors.Is(err, keyring.ErrUnknownKey) { // of another store, as its values' errors say
			errs = append(errs, fmt.Errorf("record that %d secret values under key %q were re-encrypted, which they are: %w", c.Changed, key, err))
		}
	}
	return errors.Join(errs...)
}

// reencryptedEvent says what became of the values of a key.
func reencryptedEvent(e history.Event, c secret.KeyCounts) history.Event {
	e.Count = uint64(c.Changed)
	e.Details = map[string]string{detailSubject: secretValues, detailFailed: strconv.Itoa(c.Failed)}
	if c.Untouched > 0 {
		e.Details[detailUntouched] = strconv.Itoa(c.Untouched)
	}
	if c.Changed > 0 {
		e.Version = c.To[len(c.To)-1]
		e.Details[detailFrom], e.Details[detailTo] = commas(c.From), commas(c.To)
	}
	if len(c.From) == 1 {
		e.PreviousVersion = c.From[0]
	}
	return e
}

// maxListed bounds the versions that an event lists; an event has room for so much.
const maxListed = 200

func commas(numbers []uint32) string {
	var list []string
	for _, n := range numbers[:min(len(numbers), maxListed)] {
		list = append(list, strconv.FormatUint(uint64(n), 10))
	}
	if len(numbers) > maxListed {
		list = append(list, "…")
	}
	return strings.Join(list, ",")
}
