package destruction

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/store"
)

// RefusedError says why a version is neither scheduled nor destroyed: all the
// reasons, with what was found.
type RefusedError struct {
	Key     string
	Version uint32
	// Reasons are in the order of the gate.
	Reasons []Reason
}

func (e *RefusedError) Error() string {
	lines := []string{fmt.Sprintf("the destruction of version %d of key %q is refused:", e.Version, e.Key)}
	for _, r := range e.Reasons {
		lines = append(lines, r.Text)
	}
	return strings.Join(lines, "\n")
}

// Reason is one thing that keeps the gate closed.
type Reason struct {
	Code ReasonCode `json:"code"`
	// Text says what was found and what to do about it.
	Text string `json:"text"`
	// Count is of what the code is about; 0 if it cannot be counted.
	Count uint64 `json:"count,omitempty"`
	// At is where the first of them is.
	At string `json:"at,omitempty"`
}

// ReasonCode is the kind of a reason. The set is closed.
type ReasonCode string

// The reasons.
const (
	// Leased: uses of the version are out.
	Leased ReasonCode = "leased"
	// NotDue: the period in quarantine is not over.
	NotDue ReasonCode = "not_due"
	// Attempted: decryptions were refused in quarantine.
	Attempted ReasonCode = "attempts"
	// NoData: nothing is registered, or what is registered holds no file.
	NoData ReasonCode = "no_data"
	// Tokens: tokens of the version are there.
	Tokens ReasonCode = "tokens"
	// Unaccounted: the census could not say of everything what it is.
	Unaccounted ReasonCode = "unaccounted"
)

// Census is what a census looked at.
type Census struct {
	// Files were read at and below the registered paths, a file that two of them
	// cover twice.
	Files int `json:"files"`
	// Tokens of all versions of all keys were found in them.
	Tokens int `json:"tokens"`
	// Skipped is what no census reads: symbolic links, devices, folders of git.
	Skipped int `json:"skipped"`
}

// findings are what the gate saw.
type findings struct {
	reasons  []Reason
	attempts uint64
	census   Census
}

func (f findings) refusal(key string, version uint32) error {
	if len(f.reasons) == 0 {
		return nil
	}
	return &RefusedError{Key: key, Version: version, Reasons: f.reasons}
}

// examine looks at everything that the gate asks for. With a schedule that is
// whether it is due, too, and attempts count from its beginning. The census comes
// first: it takes long, and the rest is to be true at the end.
func (d *Destroyer) examine(ctx context.Context, name string, version uint32, s *schedule) (findings, error) {
	census, uncounted, err := d.count(ctx, name, version)
	if err != nil {
		return findings{}, err
	}
	f := findings{census: census}
	if f.reasons, err = d.leased(ctx, name, version); err != nil {
		return findings{}, err
	}
	if f.attempts, err = d.Store.Attempts(ctx, name, version); err != nil {
		return findings{}, err
	}
	if s != nil {
		now, err := d.now(ctx)
		if err != nil {
			return findings{}, err
		}
		f.reasons = append(f.reasons, s.open(now, f.attempts)...)
	}
	f.reasons = append(f.reasons, uncounted...)
	return f, nil
}

func (d *Destroyer) leased(ctx context.Context, name string, version uint32) ([]Reason, error) {
	uses, err := d.Store.Leased(ctx, name, version)
	if err != nil || uses == 0 {
		return nil, err
	}
	return []Reason{{Code: Leased, Count: uses, Text: fmt.Sprintf(
		"uses of it are out on lease: %d; a process that runs returns them within seconds, those of a killed one expire within %s", uses, store.MaxLeaseTTL)}}, nil
}

// open says what the schedule still waits for.
func (s *schedule) open(now time.Time, attempts uint64) []Reason {
	var reasons []Reason
	if wait := s.due.Sub(now); wait > 0 {
		reasons = append(reasons, Reason{Code: NotDue, Text: fmt.Sprintf(
			"it is due at %s, in %s", s.due.Format(time.RFC3339), wait.Round(time.Second))})
	}
	if since := attempts - min(attempts, s.attempts); since > 0 {
		reasons = append(reasons, Reason{Code: Attempted, Count: since, Text: fmt.Sprintf(
			"attempts to decrypt with it were refused since %s: %d; somebody has values of it: cancel the destruction, re-encrypt them, and schedule it again",
			s.scheduled.Format(time.RFC3339), since)})
	}
	return reasons
}

// count takes the census, path by path, so that one that is empty shows: an unmounted
// volume looks like data without a token.
func (d *Destroyer) count(ctx context.Context, name string, version uint32) (Census, []Reason, error) {
	var total Census
	if len(d.Paths) == 0 {
		return total, []Reason{{Code: NoData, Text: "no data is registered, and a census over nothing proves nothing: add a data block to the config"}}, nil
	}
	var empty []Reason
	var tokens, failures found
	for _, path := range d.Paths {
		report, err := reencrypt.Census(ctx, d.Keys, []string{path}, d.Progress)
		if err != nil {
			return total, nil, err
		}
		total.Files += report.Files
		total.Tokens += report.Tokens
		total.Skipped += len(report.Skipped)
		tokens.add(report.Keys[name][version], report.First[name][version].String)
		failures.add(len(report.Failed), func() string { return failure(report.Failed[0]) })
		if report.Files == 0 && len(report.Failed) == 0 {
			empty = append(empty, Reason{Code: NoData, At: path, Text: hollow(path, report.Skipped)})
		}
	}
	reasons := empty
	if tokens.n > 0 {
		reasons = append(reasons, Reason{Code: Tokens, Count: uint64(tokens.n), At: tokens.first, Text: fmt.Sprintf(
			"tokens of it are in the registered data: %d, the first at %s; bring them to the primary with `keyrotor reencrypt`", tokens.n, tokens.first)})
	}
	if failures.n > 0 {
		reasons = append(reasons, Reason{Code: Unaccounted, Count: uint64(failures.n), At: failures.first, Text: fmt.Sprintf(
			"tokens or files could not be accounted for: %d, the first at %s; `keyrotor census` lists them", failures.n, failures.first)})
	}
	return total, reasons, nil
}

// found counts something and keeps where the first of it is.
type found struct {
	n     int
	first string
}

func (f *found) add(n int, first func() string) {
	if f.n == 0 && n > 0 {
		f.first = first()
	}
	f.n += n
}

func failure(f reencrypt.Failure) string {
	if f.Line == 0 {
		return fmt.Sprintf("%s (%s)", f.File, f.Code)
	}
	return fmt.Sprintf("%s:%d (%s)", f.File, f.Line, f.Code)
}

// hollow says why there is no file at a path.
func hollow(path string, skipped []reencrypt.Skip) string {
	for _, s := range skipped {
		if s.File == filepath.Clean(path) {
			return fmt.Sprintf("the registered path %s is not read (%s): register what is meant", path, s.Reason)
		}
	}
	return fmt.Sprintf("the registered path %s holds no file: mount it, or take it out of the config if it is meant to be empty", path)
}
