package reencrypt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestCensus(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.env":  old("1") + "\n" + renewed("2") + "\n" + renewed("3"),
		"b.bin":  "\x00" + fakeToken("billing", 3, "x", "needs no AAD to be counted"),
		"c.bin":  "\x00",
		"d.yaml": strings.Join([]string{fakeToken("gone", 1, "", ""), fakeToken("gone", 2, "", ""), fakeToken("payments", 9, "", ""), "keyrotor:payments:v1:"}, "\n"),
	})
	keys := newFakeKeys()
	calls := 0
	report, err := Census(t.Context(), keys, []string{dir}, func(Progress) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	var where []string
	for i := range report.Failed {
		f := &report.Failed[i]
		where = append(where, relative(dir, f.File)+":"+string(f.Code))
	}
	if got, want := strings.Join(where, " "), "d.yaml:unknown_key d.yaml:unknown_key d.yaml:unknown_version d.yaml:malformed"; got != want {
		t.Errorf("failed %s, want %s", got, want)
	}
	if got := report.First["payments"][2]; got != (Place{filepath.Join(dir, "a.env"), 2}) || got.String() != filepath.Join(dir, "a.env")+":2" {
		t.Errorf("the first token of payments v2 is at %v", got)
	}
	if at, ok := report.First["billing"][1]; ok || len(report.First) != 2 {
		t.Errorf("the first of no token is at %v; all are %v", at, report.First)
	}
	report.Failed = report.Failed[:0]
	wantJSON(t, report, `{"keys":{"billing":{"1":0,"2":0,"3":1},"payments":{"1":1,"2":2}},"unknown":4,"files":4,"tokens":8,"failed":[],"skipped":[]}`)
	if keys.looked != 3 || keys.calls != 0 {
		t.Errorf("%d look-ups, %d re-encryptions; want 3 and 0", keys.looked, keys.calls)
	}
	if calls < 4 {
		t.Errorf("%d calls of progress", calls)
	}
}

// TestCensusIsBounded: neither the failures of a file nor the keys that it makes up
// are kept without end.
func TestCensusIsBounded(t *testing.T) {
	var text strings.Builder
	for i := range maxFaults + 5 {
		text.WriteString(fakeToken(fmt.Sprintf("gone-%d", i), 1, "", "") + "\n")
	}
	dir := tree(t, map[string]string{"f": text.String(), "g": fakeToken("gone", 1, "", "")})
	report, err := Census(t.Context(), newFakeKeys(), []string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := len(report.Failed)
	if report.Unknown != maxFaults+6 || n != maxListed+2 {
		t.Fatalf("%d unknown, %d listed", report.Unknown, n)
	}
	if report.Failed[n-2].Code != More || report.Failed[n-1].Code != UnknownKey {
		t.Errorf("the list ends with %+v", report.Failed[n-2:])
	}

	c := census{keys: newFakeKeys(), faults: map[string]error{}}
	for i := range maxFaults + 5 {
		if _, err := c.lookUp(t.Context(), fmt.Sprintf("gone-%d", i)); err == nil {
			t.Fatal("there is such a key")
		}
	}
	if len(c.faults) != 5 {
		t.Errorf("%d unknown keys are remembered", len(c.faults))
	}
}

func TestCensusOfNothing(t *testing.T) {
	report, err := Census(t.Context(), newFakeKeys(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, report, `{"keys":{},"unknown":0,"files":0,"tokens":0,"failed":[],"skipped":[]}`)
}

func TestCensusCancelled(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report, err := Census(ctx, newFakeKeys(), []string{dir}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	wantJSON(t, report, `{"keys":{},"unknown":0,"files":0,"tokens":0,"failed":[],"skipped":[]}`)
}

func TestCensusLeavesLeftoversAlone(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a"), ".f.keyrotor-0123456789abcdef.tmp": old("a")})
	report, err := Census(t.Context(), newFakeKeys(), []string{filepath.Join(dir, "f"), dir}, nil)
	if err != nil || report.Tokens != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	wantNames(t, dir, ".f.keyrotor-0123456789abcdef.tmp", "f")
}
