// Package doctor says what is wrong with an installation, what shows it, and what
// to do next. Each check is a function of plain values or of something to read
// from; it changes nothing, and one that finds its subject missing or unreadable
// says so instead of failing. Package core gathers the values.
package doctor

import (
	"fmt"
	"strings"
)

// Status is the outcome of a check.
type Status string

// The statuses.
const (
	OK Status = "ok"
	// Warn: everything works, and something should be done all the same.
	Warn Status = "warn"
	// Fail: something does not work, or can no longer be trusted.
	Fail Status = "fail"
	// Skipped: what would have been looked at cannot be reached. The finding that
	// says why is another one.
	Skipped Status = "skipped"
)

// The groups of checks. The name of a check is that of its group, a dot and a word;
// a group that was skipped as a whole stands for its checks.
const (
	GroupConfig   = "config"
	GroupPlugins  = "plugins"
	GroupProvider = "provider"
	GroupStore    = "store"
	GroupKey      = "key"
	GroupHistory  = "history"
	GroupPending  = "pending"
	GroupRotation = "rotation"
	GroupNotify   = "notify"
	GroupProcess  = "process"
)

// Finding is the outcome of one check on one subject.
type Finding struct {
	// Check is its stable name, e.g. "store.integrity".
	Check string `json:"check"`
	// Subject is what was looked at: a file, a provider, a key. It may be empty.
	Subject string `json:"subject"`
	Status  Status `json:"status"`
	// Evidence is what was seen.
	Evidence string `json:"evidence"`
	// Next is what to do about it; empty if nothing has to be done.
	Next string `json:"next,omitempty"`
}

// Group is the first part of the check's name.
func (f Finding) Group() string {
	group, _, _ := strings.Cut(f.Check, ".")
	return group
}

// Report is everything that was found.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Add appends findings.
func (r *Report) Add(findings ...Finding) { r.Findings = append(r.Findings, findings...) }

// Count is the number of findings with a status.
func (r Report) Count(s Status) int {
	n := 0
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// Skip says for a whole group why it was not looked at.
func Skip(group, why string) Finding {
	return check(group).skip("", why)
}

// check is the name of a check, which makes findings.
type check string

func (c check) ok(subject, format string, args ...any) Finding {
	return Finding{Check: string(c), Subject: subject, Status: OK, Evidence: fmt.Sprintf(format, args...)}
}

func (c check) warn(subject, evidence, next string) Finding {
	return Finding{Check: string(c), Subject: subject, Status: Warn, Evidence: evidence, Next: next}
}

func (c check) fail(subject, evidence, next string) Finding {
	return Finding{Check: string(c), Subject: subject, Status: Fail, Evidence: evidence, Next: next}
}

func (c check) skip(subject, why string) Finding {
	return Finding{Check: string(c), Subject: subject, Status: Skipped, Evidence: why}
}

// restore is what to do about a store that cannot be trusted.
const restore = "move the file away for examination, then run `keyrotor backup restore FILE` with the newest backup"

// count says "1 key" or "2 keys".
func count[N int | int64 | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
