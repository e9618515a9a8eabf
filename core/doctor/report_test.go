package doctor

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// lines is how these tests write findings down.
func lines(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s [%s] %s\n", f.Status, f.Check, f.Subject, f.Evidence)
		if f.Next != "" {
			fmt.Fprintf(&b, "  -> %s\n", f.Next)
		}
	}
	return b.String()
}

// expect compares findings with what is written down of them. RESTORE stands for what
// to do about a store that cannot be trusted.
func expect(t *testing.T, what string, findings []Finding, want string) {
	t.Helper()
	want = strings.ReplaceAll(strings.TrimLeft(want, "\n"), "RESTORE",
		"move the file away for examination, then run `keyrotor backup restore FILE` with the newest backup")
	if got := lines(findings); got != want {
		t.Errorf("%s:\ngot\n%swant\n%s", what, got, want)
	}
	for _, f := range findings {
		if (f.Status == OK || f.Status == Skipped) != (f.Next == "") {
			t.Errorf("%s: %s is %s, and the next step is %q", what, f.Check, f.Status, f.Next)
		}
		if f.Evidence == "" {
			t.Errorf("%s: %s has no evidence", what, f.Check)
		}
	}
}

func TestReport(t *testing.T) {
	var r Report
	r.Add(configValid.ok("f", "fine"), configValid.fail("f", "bad", "mend it"), Skip(GroupStore, "no config"), configValid.warn("f", "old", "renew it"))
	r.Add(configValid.ok("g", "%d%%", 7))
	for status, want := range map[Status]int{OK: 2, Warn: 1, Fail: 1, Skipped: 1} {
		if got := r.Count(status); got != want {
			t.Errorf("%d findings are %s, want %d", got, status, want)
		}
	}
	if got := r.Findings[0].Group() + " " + r.Findings[2].Group(); got != "config store" {
		t.Errorf("groups %s", got)
	}
	expect(t, "report", r.Findings, `
ok config.valid [f] fine
fail config.valid [f] bad
  -> mend it
skipped store [] no config
warn config.valid [f] old
  -> renew it
ok config.valid [g] 7%
`)
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3400 * time.Millisecond: "3s", 90 * time.Second: "2m", 5*time.Hour + 20*time.Second: "5h0m", 50 * time.Hour: "2 days",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{1: "1 byte", 312: "312 bytes", 4096: "4 KiB", 118784: "116 KiB", 3 << 19: "1.5 MiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for want, numbers := range map[string][]uint64{"1": {1}, "1, 2, 3": {1, 2, 3}, "4, 5, 6 and 2 more": {4, 5, 6, 7, 8}} {
		if got := some(numbers); got != want {
			t.Errorf("%v is %q, want %q", numbers, got, want)
		}
	}
}

// replaceOnce edits text that must be there exactly once.
func replaceOnce(t *testing.T, text, from, to string) string {
	t.Helper()
	if strings.Count(text, from) != 1 {
		t.Fatalf("%q stands %d times in %s", from, strings.Count(text, from), text)
	}
	return strings.Replace(text, from, to, 1)
}
