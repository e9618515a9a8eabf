package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// record is a key as the model knows it: what matters about a key record, and none
// of the code that keeps one. It is not changed once it is made.
type record struct {
	versions []version
	primary  uint32
	min      uint32
	block    bool
	limit    uint64
	with     string // the provider that wraps every version that is not destroyed
	// restored: it came out of a backup, and encrypts nothing until it is recovered.
	restored bool
}

type version struct {
	number uint32
	state  keyring.State
	from   keyring.State // before quarantine
}

// next lists what may follow each state by the hand of an operator; quarantine and
// destruction have their own ways.
var next = map[keyring.State][]keyring.State{
	keyring.Active:      {keyring.Deactivated, keyring.Suspended, keyring.Compromised},
	keyring.Deactivated: {keyring.Suspended, keyring.Compromised},
	keyring.Suspended:   {keyring.Active, keyring.Deactivated, keyring.Compromised},
}

// The classes of errors that the model tells apart.
const (
	ok             = ""
	badState       = "state"
	noPrimary      = "no primary"
	unknownKey     = "unknown key"
	unknownVersion = "unknown version"
	keyExists      = "key exists"
	wrong          = "authentication"
	usageLimit     = "usage limit"
	rotated        = "rotated"
	weak           = "weak"
	notWrapped     = "not wrapped"
	unrecovered    = "restored"
	gate           = "gate: " // and the reasons, with a + between them
)

// outcome is what the model predicts of an answer; a plaintext is that of the
// token, or there is none.
type outcome struct {
	Class   string
	Version uint32 // of the token that was answered, or the new primary
	Changed bool   // by a re-encryption
}

func (o outcome) String() string {
	switch {
	case o.Class != ok:
		return "refused: " + o.Class
	case o.Version == 0:
		return "ok"
	case o.Changed:
		return fmt.Sprintf("ok, changed to version %d", o.Version)
	default:
		return fmt.Sprintf("ok, version %d", o.Version)
	}
}

// kind is the outcome without its version.
func (o outcome) kind() string {
	switch {
	case o.Class != ok:
		return o.Class
	case o.Changed:
		return "changed"
	default:
		return "ok"
	}
}

func refused(class string) outcome { return outcome{Class: class} }

func (r *record) clone() *record {
	c := *r
	c.versions = slices.Clone(r.versions)
	return &c
}

func (r *record) version(number uint32) *version {
	for i := range r.versions {
		if r.versions[i].number == number {
			return &r.versions[i]
		}
	}
	return nil
}

func (r *record) numbers() (list []uint32) {
	for _, v := range r.versions {
		list = append(list, v.number)
	}
	return list
}

// in lists the versions in a state.
func (r *record) in(state keyring.State) (list []uint32) {
	for _, v := range r.versions {
		if v.state == state {
			list = append(list, v.number)
		}
	}
	return list
}

// newest is the highest number that there is.
func (r *record) newest() uint32 { return r.versions[len(r.versions)-1].number }

// encrypt predicts an encryption by whoever knows this record.
func (r *record) encrypt() outcome {
	switch {
	case r.restored:
		return refused(unrecovered)
	case r.primary == 0:
		return refused(noPrimary)
	}
	return outcome{Version: r.primary}
}

// decrypt predicts the decryption of a token of a version.
func (r *record) decrypt(number uint32) outcome {
	v := r.version(number)
	switch {
	case v == nil:
		return refused(unknownVersion)
	case v.state != keyring.Active && v.state != keyring.Deactivated && v.state != keyring.Compromised:
		return refused(badState)
	case v.state == keyring.Compromised && r.block, number < r.min:
		return refused(badState)
	}
	return outcome{}
}

// rotate predicts a rotation.
func (r *record) rotate() (*record, outcome, []string) {
	if r.restored {
		return r, refused(unrecovered), nil
	}
	return r.rotateTo(r.newest() + 1)
}

func (r *record) rotateTo(number uint32) (*record, outcome, []string) {
	after := r.clone()
	after.restored = false
	if v := after.version(r.primary); v != nil {
		v.state = keyring.Deactivated
	}
	after.versions = append(after.versions, version{number: number, state: keyring.Active})
	after.primary = number
	return after, outcome{Version: number}, []string{
		fmt.Sprintf("creation of %d", number),
		fmt.Sprintf("rotation from %d to %d", r.primary, number),
	}
}

// set predicts a change of a version's state.
func (r *record) set(number uint32, to keyring.State) (*record, outcome, []string) {
	v := r.version(number)
	switch {
	case r.restored && to == keyring.Active:
		return r, refused(unrecovered), nil
	case v == nil:
		return r, refused(unknownVersion), nil
	case v.state == to:
		return r, outcome{}, nil
	case to == keyring.Active && number < r.min, !slices.Contains(next[v.state], to):
		return r, refused(badState), nil
	}
	after := r.clone()
	after.version(number).state = to
	events := []string{fmt.Sprintf("state of %d from %s to %s", number, v.state, to)}
	switch {
	case to == keyring.Active:
		after.primary = number
		if deposed := after.version(r.primary); deposed != nil {
			deposed.state = keyring.Deactivated
			events = append([]string{fmt.Sprintf("state of %d from active to deactivated", r.primary)}, events...)
		}
	case number == r.primary:
		after.primary = 0
	}
	return after, outcome{}, events
}

// setMin predicts a change of the minimum decryption version.
func (r *record) setMin(least uint32) (*record, outcome, []string) {
	switch {
	case least == r.min:
		return r, outcome{}, nil
	case least > r.newest():
		return r, refused(unknownVersion), nil
	case r.primary > 0 && least > r.primary:
		return r, refused(badState), nil
	}
	after := r.clone()
	after.min = least
	return after, outcome{}, []string{fmt.Sprintf("min_decrypt_version from %d to %d", r.min, least)}
}

// setBlock predicts a change of whether compromised versions may be read.
func (r *record) setBlock(on bool) (*record, outcome, []string) {
	if on == r.block {
		return r, outcome{}, nil
	}
	after := r.clone()
	after.block = on
	return after, outcome{}, []string{fmt.Sprintf("block_reads from %t to %t", r.block, on)}
}

// end predicts a step towards the end of a version, where no gate is in its way.
func (r *record) end(k kind, number uint32) (*record, outcome, []string) {
	v := r.version(number)
	if v == nil {
		return r, refused(unknownVersion), nil
	}
	quarantined := v.state == keyring.Quarantined
	mayEnd := v.state == keyring.Deactivated || v.state == keyring.Suspended || v.state == keyring.Compromised
	after := r.clone()
	changed := after.version(number)
	var event string
	switch {
	case k == schedule && mayEnd:
		*changed = version{number, keyring.Quarantined, v.state}
		event = fmt.Sprintf("destroy_scheduled of %d, was %s", number, v.state)
	case k == cancel && quarantined:
		*changed = version{number: number, state: v.from}
		event = fmt.Sprintf("destroy_canceled of %d, is %s", number, v.from)
	case k == destroy && quarantined, k == force && (mayEnd || quarantined):
		*changed = version{number: number, state: keyring.Destroyed}
		event = fmt.Sprintf("destroyed %d", number)
	default:
		return r, refused(badState), nil
	}
	return after, outcome{}, []string{event}
}

// restore predicts what a backup of the record is once it is restored.
func (r *record) restore() (*record, []string) {
	after := r.clone()
	after.restored = true
	if v := after.version(r.primary); v != nil {
		v.state = keyring.Deactivated
	}
	after.primary = 0
	return after, []string{fmt.Sprintf("restored at %d", r.newest())}
}

// migrate predicts a migration to a provider from the other one. Events about wraps
// are not the model's.
func (r *record) migrate(to string) (*record, outcome, []string) {
	if r.with == to {
		return r, refused(notWrapped), nil
	}
	after := r.clone()
	after.with = to
	return after, outcome{}, nil
}

// String is the same for a record and for the stored key that it is to be.
func (r *record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "primary %d, at least %d, block reads %t, wrapped with %s:", r.primary, r.min, r.block, r.with)
	for _, v := range r.versions {
		fmt.Fprintf(&b, " %d %s", v.number, v.state)
	}
	return b.String()
}

// recordOf reads a stored key as the model does. A version that is not wrapped as it
// should be shows in its state.
func recordOf(k store.Key) *record {
	r := &record{
		primary: k.Primary, min: k.Settings.MinDecryptVersion, block: k.Settings.BlockReads,
		limit: k.Settings.HardLimit, with: strings.Join(k.Settings.WrapWith, "+"),
	}
	for _, v := range k.Versions {
		var with []string
		for _, w := range v.Wraps {
			with = append(with, w.Provider)
		}
		state := v.State
		if v.State != keyring.Destroyed && strings.Join(with, "+") != r.with {
			state += keyring.State(fmt.Sprintf(" wrapped with %q", with))
		}
		r.versions = append(r.versions, version{number: v.Number, state: state})
	}
	return r
}
