package faultplan_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

func Example() {
	var plan faultplan.Plan
	plan.Next(1, "PUT /v1/transit/decrypt/*", faultplan.Throttled(2*time.Second))

	// The server in the middle asks about each call.
	for range 2 {
		fault := plan.Take("PUT /v1/transit/decrypt/payments", nil)
		fmt.Println(fault.Kind == faultplan.Throttle, fault.Delay)
	}
	fmt.Println(len(plan.Calls("*")), plan.Pending())
	// Output:
	// true 2s
	// false 0s
	// 2 0
}

func TestRules(t *testing.T) {
	var plan faultplan.Plan
	kinds := func(names ...string) (kinds []faultplan.Kind) {
		for _, name := range names {
			kinds = append(kinds, plan.Take(name, nil).Kind)
		}
		return kinds
	}
	check := func(want []faultplan.Kind, names ...string) {
		t.Helper()
		if got := kinds(names...); !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", names, got, want)
		}
	}
	const none, cut, lost, denied = faultplan.None, faultplan.CutBefore, faultplan.CutAfter, faultplan.Denied

	check([]faultplan.Kind{none}, "PUT a")
	plan.Next(2, "PUT *", faultplan.Cut())
	plan.Next(1, "PUT a", faultplan.Lost())
	plan.Next(0, "*", faultplan.Refused())
	plan.Every("GET b", faultplan.Refused())
	if n := plan.Pending(); n != 3 {
		t.Errorf("%d calls are to go wrong, want 3", n)
	}
	check([]faultplan.Kind{none, cut, cut, none, lost, none}, "GET a", "PUT a", "PUT b", "PUT b", "PUT a", "PUT a")
	if n := plan.Pending(); n != 0 {
		t.Errorf("%d calls are to go wrong, want none", n)
	}
	check([]faultplan.Kind{denied, denied, denied}, "GET b", "GET b", "GET b")
	plan.Clear()
	check([]faultplan.Kind{none}, "GET b")

	if n := len(plan.Calls("GET *")); n != 5 {
		t.Errorf("%d calls of GET were seen, want 5", n)
	}
	if calls := plan.Calls("GET b"); calls[0].Fault != denied || calls[3].Fault != none {
		t.Errorf("GET b: %v", calls)
	}
	plan.Forget()
	if calls := plan.Calls("*"); calls != nil {
		t.Errorf("not forgotten: %v", calls)
	}
}

func TestConstructors(t *testing.T) {
	for _, c := range []struct {
		fault  faultplan.Fault
		kind   faultplan.Kind
		delay  time.Duration
		status int
	}{
		{faultplan.Late(time.Second), faultplan.Latency, time.Second, 0},
		{faultplan.Throttled(time.Minute), faultplan.Throttle, time.Minute, 0},
		{faultplan.Failed(503), faultplan.ServerError, 0, 503},
		{faultplan.Refused(), faultplan.Denied, 0, 0},
		{faultplan.Cut(), faultplan.CutBefore, 0, 0},
		{faultplan.Lost(), faultplan.CutAfter, 0, 0},
		{faultplan.Wrong(func([]byte) []byte { return []byte("x") }), faultplan.WrongAnswer, 0, 0},
	} {
		if f := c.fault; f.Kind != c.kind || f.Delay != c.delay || f.Status != c.status || (f.Rewrite != nil) != (c.kind == faultplan.WrongAnswer) {
			t.Errorf("%+v, want kind %d, delay %v, status %d", f, c.kind, c.delay, c.status)
		}
	}
}

func TestHeaders(t *testing.T) {
	var plan faultplan.Plan
	plan.Take("GET a", http.Header{"X-Vault-Namespace": {"team"}})
	if got := http.Header(plan.Calls("*")[0].Header).Get("x-vault-namespace"); got != "team" {
		t.Errorf("the namespace was %q", got)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"a", "a", true},
		{"a", "ab", false},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "b/a", true},
		{"*a", "ab", false},
		{"PUT */encrypt/*", "PUT /v1/transit/encrypt/k", true},
		{"PUT */encrypt/*", "PUT /v1/transit/decrypt/k", false},
		{"PUT */encrypt/*", "PUT /v1/transit/encrypt", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "acb", false},
		{"a*a", "a", false}, // one character cannot stand for both
		{"a*b*b", "ab", false},
		{"a**c", "abc", true},
		{"*ab*ab", "ab", false},
		{"*ab*ab", "abab", true},
	} {
		if got := faultplan.Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

// Callers race for the calls that go wrong; exactly that many do.
func TestNextIsExact(t *testing.T) {
	var plan faultplan.Plan
	plan.Next(10, "*", faultplan.Cut())
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { plan.Take("x", nil) })
	}
	wg.Wait()
	cut := 0
	for _, c := range plan.Calls("x") {
		if c.Fault == faultplan.CutBefore {
			cut++
		}
	}
	if cut != 10 {
		t.Errorf("%d calls were cut, want 10", cut)
	}
}
