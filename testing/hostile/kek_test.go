package hostile

import (
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rewrap"
)

// TestLiesAboutTheKEK has a plugin lie while its key-encryption key is rotated and the
// wraps are brought to the new version. A wrap that is not proved stays where it is; a
// rotation that took place, whatever was said of it, is found by asking again.
func TestLiesAboutTheKEK(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	kr := s.open()
	const (
		otherKEK   = `INTEGRITY: broke its promise: a provider works on one key-encryption key; it named "KEK" before and names "faulty/other" now; if that is meant, restart Keyrotor`
		unfinished = "; the rotation of the key-encryption key is not finished: run the command again, it goes on where this run stopped"
		ofOrders   = `rewrap key "orders" with provider "prod": `
	)
	for _, lie := range []struct {
		fault   string
		err     string // of the whole rotation
		failed  string // of each wrap
		resumed bool   // the next run goes on with this rotation
	}{
		{"RotateKey other-old", "", "", false},
		{"RotateKey no-new", "", "", false},
		{"DescribeKey unlisted-primary", said("prod", "DescribeKey") + internalPromise + `the primary is one of the versions; "99" is none of the 5`, "", false},
		{"DescribeKey other-kek", said("prod", "DescribeKey") + otherKEK, "", false},
		{"Rewrap other-kek", ofOrders + said("prod", "Rewrap") + otherKEK + unfinished, "", true},
		{"Rewrap no-blob", ofOrders + said("prod", "Rewrap") + internalPromise + "a wrap has 1 to 16384 bytes; result 0: it has 0" + unfinished, "", true},
		{"Rewrap missing-item", ofOrders + said("prod", "Rewrap") + internalPromise + "one result an item; it answered 0 for 1" + unfinished, "", true},
		{"Rewrap other-blob", "", proving("prod") + "INTEGRITY: the wrap under KEK version VERSION does not open: it was altered, or its AAD differs", false},
		{"Unwrap other-root", "", `provider "prod": integrity check failed: the unwrapped root does not match the key check value of version 1`, false},
		{"Unwrap short-root", "", proving("prod") + integrityPromise + "a root has 32 bytes; result 0: it has 31", false},
	} {
		s.fault("prod", lie.fault)
		r, err := kr.RotateKEK(t.Context(), rewrap.KEKRequest{Provider: "prod"})
		if want := strings.ReplaceAll(lie.err, `"KEK"`, `"`+s.kek(kr, "prod")+`"`); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", lie.fault, err, want)
		}
		failures := 0
		if lie.failed != "" {
			failures = 2
		}
		if len(r.Failed) != failures {
			t.Errorf("%s: failed: %+v", lie.fault, r.Failed)
		}
		for _, f := range r.Failed {
			want := `rewrap version 1 of key "` + f.Key + `" with provider "prod": ` + strings.ReplaceAll(lie.failed, "VERSION", r.KEKVersion)
			if f.Error != want {
				t.Errorf("%s\ngot  %s\nwant %s", lie.fault, f.Error, want)
			}
		}
		s.readable(kr)
		s.fault("prod", none)
		s.kekRotates(kr, lie.resumed)
	}
	s.rotates(kr, payments)
	s.readable(kr)
	s.readable(s.open())
}

// kekRotates rotates the KEK of prod, which must bring both wraps along.
func (s *scene) kekRotates(kr *core.Keyrotor, resumed bool) {
	s.t.Helper()
	r, err := kr.RotateKEK(s.t.Context(), rewrap.KEKRequest{Provider: "prod"})
	must(s.t, err)
	if r.Resumed != resumed || r.Rewrapped != 2 || len(r.Failed) != 0 {
		s.t.Errorf("after the fault: %+v", r)
	}
}
