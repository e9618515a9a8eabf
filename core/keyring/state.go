package keyring

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// transitions lists what may follow each state. Nothing leaves Destroyed, and a
// version that stopped being primary encrypts again only if it was suspended.
var transitions = map[State][]State{
	PreActive:   {Active, Suspended, Compromised, Destroyed},
	Active:      {Deactivated, Suspended, Compromised},
	Deactivated: {Suspended, Compromised, Quarantined},
	Suspended:   {Active, Deactivated, Compromised, Quarantined},
	Compromised: {Quarantined},
	Quarantined: {Deactivated, Suspended, Compromised, Destroyed},
	Destroyed:   {},
}

// Valid reports whether s is one of the states.
func (s State) Valid() bool {
	_, ok := transitions[s]
	return ok
}

// CanBecome reports whether to may follow s.
func (s State) CanBecome(to State) bool { return slices.Contains(transitions[s], to) }

// CanDecrypt reports whether a version in this state opens its ciphertexts.
func (s State) CanDecrypt() bool {
	return s == Active || s == Deactivated || s == Compromised
}

// CheckDecrypt says whether a version opens its ciphertexts now: ErrUnknownVersion
// or ErrState if not.
func (r *Record) CheckDecrypt(number uint32) error {
	v, ok := r.Version(number)
	if !ok {
		return fmt.Errorf("%w: key %q has no version %d", ErrUnknownVersion, r.Name, number)
	}
	if !v.State.CanDecrypt() {
		return fmt.Errorf("%w: version %d of key %q is %s", ErrState, number, r.Name, v.State)
	}
	if v.State == Compromised && r.Settings.BlockReads {
		return fmt.Errorf("%w: version %d of key %q is compromised, and the key blocks reads of compromised versions", ErrState, number, r.Name)
	}
	if number < r.Settings.MinDecryptVersion {
		return fmt.Errorf("%w: version %d of key %q is below its minimum decryption version %d", ErrState, number, r.Name, r.Settings.MinDecryptVersion)
	}
	return nil
}

// readable is CheckDecrypt of a version of the record, without the words.
func (r *Record) readable(v *Version) bool {
	return v.State.CanDecrypt() && v.Number >= r.Settings.MinDecryptVersion &&
		(!r.Settings.BlockReads || v.State != Compromised)
}

// PrimaryVersion answers the version that encrypts; ErrNoPrimary if there is none.
func (r *Record) PrimaryVersion() (*Version, error) {
	v, ok := r.Version(r.Primary)
	if !ok || v.State != Active {
		return nil, fmt.Errorf("%w: %q: rotate the key to give it one", ErrNoPrimary, r.Name)
	}
	return v, nil
}

// AddVersion appends a pre-active version; its number must be unused and the
// highest, its label unique.
func (r *Record) AddVersion(v Version) error {
	if v.Number < r.NextVersion() {
		return fmt.Errorf("keyring: version %d of key %q: the next number is %d", v.Number, r.Name, r.NextVersion())
	}
	if len(v.Wraps) == 0 {
		return fmt.Errorf("keyring: version %d of key %q has no wrap", v.Number, r.Name)
	}
	if err := r.CheckLabel(v.Number, v.Label); err != nil {
		return err
	}
	v.State = PreActive
	v.Activated = time.Time{}
	v.StateChanged = v.Created
	v.Wraps = slices.Clone(v.Wraps)
	slices.SortFunc(v.Wraps, func(a, b Wrap) int { return strings.Compare(a.Provider, b.Provider) })
	r.Versions = append(r.Versions, v)
	return nil
}

// SetPrimary makes a version encrypt, and deactivates the one that did.
func (r *Record) SetPrimary(number uint32, now time.Time) error {
	if number == r.Primary {
		return fmt.Errorf("%w: version %d of key %q is the primary already", ErrState, number, r.Name)
	}
	next, ok := r.Version(number)
	if !ok {
		return fmt.Errorf("%w: key %q has no version %d", ErrUnknownVersion, r.Name, number)
	}
	if !next.State.CanBecome(Active) {
		return fmt.Errorf("%w: version %d of key %q is %s and cannot become active", ErrState, number, r.Name, next.State)
	}
	if old, ok := r.Version(r.Primary); ok && old.State == Active {
		old.setState(Deactivated, now)
	}
	next.setState(Active, now)
	r.Primary = number
	return nil
}

// SetState moves a version to another state. A primary that leaves Active leaves
// the key without one. Becoming active goes through SetPrimary.
func (r *Record) SetState(number uint32, to State, now time.Time) error {
	v, ok := r.Version(number)
	if !ok {
		return fmt.Errorf("%w: key %q has no version %d", ErrUnknownVersion, r.Name, number)
	}
	if to == Active || !v.State.CanBecome(to) {
		return fmt.Errorf("%w: version %d of key %q cannot go from %s to %s", ErrState, number, r.Name, v.State, to)
	}
	v.setState(to, now)
	if r.Primary == number {
		r.Primary = 0
	}
	if to == Destroyed {
		v.Wraps = nil
	}
	return nil
}

// MaxLabel is the longest label in bytes.
const MaxLabel = 128

var numberedLabel = regexp.MustCompile(`^v[0-9]+$`)

// checkLabel: any text is a label, but "vN" is kept for version N.
func (v *Version) checkLabel() error {
	if v.Label == "" || numberedLabel.MatchString(v.Label) && v.Label != VersionLabel(v.Number) {
		return fmt.Errorf("%w: version %d cannot have %q: it is not empty, and v with a number is for the version of that number", ErrLabel, v.Number, v.Label)
	}
	return nil
}

// notInLabel: what ends a line, or changes the direction of writing, makes a label look
// like another.
func notInLabel(c rune) bool {
	return unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// CheckLabel says whether a version that is to be made may have a label. The error is
// ErrLabel.
func (r *Record) CheckLabel(number uint32, label string) error {
	if err := (&Version{Number: number, Label: label}).checkLabel(); err != nil {
		return err
	}
	if len(label) > MaxLabel || !utf8.ValidString(label) || strings.ContainsFunc(label, notInLabel) {
		return fmt.Errorf("%w: %q: use one line of up to %d bytes of UTF-8, without control characters", ErrLabel, label, MaxLabel)
	}
	for i := range r.Versions {
		if r.Versions[i].Label == label {
			return fmt.Errorf("%w: %q is that of version %d of key %q", ErrLabel, label, r.Versions[i].Number, r.Name)
		}
	}
	return nil
}

func (v *Version) setState(to State, now time.Time) {
	v.State = to
	v.StateChanged = now
	if to == Active && v.Activated.IsZero() {
		v.Activated = now
	}
}

// Check says whether the record is one that the rules above can lead to; a store
// calls it before it commits.
func (r *Record) Check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if !r.Settings.Algorithm.Valid() {
		return fmt.Errorf("keyring: key %q has the unknown algorithm %q", r.Name, r.Settings.Algorithm)
	}
	if limit := r.Settings.HardLimit; limit == 0 || limit > MaxUses {
		return fmt.Errorf("keyring: key %q has a hard limit of %d uses; from 1 to %d are possible", r.Name, limit, uint64(MaxUses))
	}
	if r.Settings.MinDecryptVersion >= r.NextVersion() {
		return fmt.Errorf("keyring: key %q has the minimum decryption version %d, which does not exist", r.Name, r.Settings.MinDecryptVersion)
	}
	labels := make(map[string]bool, len(r.Versions))
	var last uint32
	for i := range r.Versions {
		v := &r.Versions[i]
		switch {
		case v.Number <= last:
			return fmt.Errorf("keyring: versions of key %q do not ascend at %d", r.Name, v.Number)
		case labels[v.Label]:
			return fmt.Errorf("keyring: key %q has the label %q twice", r.Name, v.Label)
		case !v.Algorithm.Valid():
			return fmt.Errorf("keyring: version %d of key %q has the unknown algorithm %q", v.Number, r.Name, v.Algorithm)
		case !v.Reason.Valid():
			return fmt.Errorf("keyring: version %d of key %q has the unknown reason %q", v.Number, r.Name, v.Reason)
		case !v.State.Valid():
			return fmt.Errorf("keyring: version %d of key %q has the unknown state %q", v.Number, r.Name, v.State)
		case (v.State == Active) != (v.Number == r.Primary):
			return fmt.Errorf("keyring: version %d of key %q is %s, and the primary is %d", v.Number, r.Name, v.State, r.Primary)
		case v.State != Destroyed && len(v.Wraps) == 0:
			return fmt.Errorf("keyring: version %d of key %q has no wrap", v.Number, r.Name)
		case v.State == Destroyed && len(v.Wraps) > 0:
			return fmt.Errorf("keyring: version %d of key %q is destroyed and has a wrap", v.Number, r.Name)
		}
		if err := v.checkLabel(); err != nil {
			return err
		}
		last, labels[v.Label] = v.Number, true
	}
	if _, ok := r.Version(r.Primary); r.Primary != 0 && !ok {
		return fmt.Errorf("keyring: the primary %d of key %q does not exist", r.Primary, r.Name)
	}
	return nil
}
