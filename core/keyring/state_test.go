package keyring

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newTestRecord() *Record {
	return &Record{ID: KeyID{1}, Name: "payments", Settings: Settings{Algorithm: AES256GCM, HardLimit: MaxUses, WrapWith: []string{"p"}}}
}

func newTestVersion(n uint32) Version {
	return Version{Number: n, Label: VersionLabel(n), Algorithm: AES256GCM, Reason: ReasonManual, Wraps: []Wrap{{Provider: "p", KEKID: "k", Blob: []byte("b")}}}
}

// TestTransitionsModel drives random moves, legal and not, beside a model that
// knows only the table of the design.
func TestTransitionsModel(t *testing.T) {
	legal := map[State]string{
		PreActive: "active suspended compromised destroyed", Active: "deactivated suspended compromised",
		Deactivated: "suspended compromised quarantined", Suspended: "active deactivated compromised quarantined",
		Compromised: "quarantined", Quarantined: "deactivated suspended compromised destroyed", Destroyed: "",
	}
	states := []State{PreActive, Active, Deactivated, Suspended, Compromised, Quarantined, Destroyed}
	rapid.Check(t, func(t *rapid.T) {
		rec, model := newTestRecord(), map[uint32]State{}
		now := time.UnixMicro(1)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n := rec.NextVersion() + uint32(rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "skip"))
				if err := rec.AddVersion(newTestVersion(n)); err != nil {
					t.Fatal(err)
				}
				model[n] = PreActive
			},
			"add used": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing there yet")
				}
				n := rapid.Uint32Range(1, rec.NextVersion()-1).Draw(t, "number")
				if rec.AddVersion(newTestVersion(n)) == nil {
					t.Fatalf("version %d was made twice, or out of order", n)
				}
			},
			"primary": func(t *rapid.T) {
				n := rapid.Uint32Range(1, rec.NextVersion()).Draw(t, "number")
				from, known := model[n]
				may := known && strings.Contains(legal[from], "active ") && from != Deactivated && from != Quarantined
				err := rec.SetPrimary(n, now)
				if (err == nil) != may {
					t.Fatalf("SetPrimary from %q: %v", from, err)
				}
				if err != nil {
					return
				}
				for v, s := range model {
					if s == Active {
						model[v] = Deactivated
					}
				}
				model[n] = Active
			},
			"state": func(t *rapid.T) {
				n := rapid.Uint32Range(1, rec.NextVersion()).Draw(t, "number")
				to := rapid.SampledFrom(states).Draw(t, "to")
				from, known := model[n]
				may := known && to != Active && slices.Contains(strings.Fields(legal[from]), string(to))
				err := rec.SetState(n, to, now)
				if (err == nil) != may {
					t.Fatalf("SetState from %q to %q: %v", from, to, err)
				}
				if err == nil {
					model[n] = to
				} else if known && !errors.Is(err, ErrState) {
					t.Fatalf("error %v", err)
				}
			},
			"": func(t *rapid.T) { checkAgainst(t, rec, model) },
		})
	})
}

func checkAgainst(t *rapid.T, rec *Record, model map[uint32]State) {
	if err := rec.Check(); err != nil {
		t.Fatalf("the rules led to a record that breaks them: %v", err)
	}
	var active []uint32
	for n, s := range model {
		v, ok := rec.Version(n)
		if !ok || v.State != s {
			t.Fatalf("version %d is %+v, the model says %s", n, v, s)
		}
		if s == Active {
			active = append(active, n)
		}
		readable := s == Active || s == Deactivated || s == Compromised
		if (rec.CheckDecrypt(n) == nil) != readable {
			t.Fatalf("CheckDecrypt of a version that is %s: %v", s, rec.CheckDecrypt(n))
		}
	}
	primary, err := rec.PrimaryVersion()
	switch {
	case len(active) > 1:
		t.Fatalf("several primaries: %v", active)
	case len(active) == 1 && (err != nil || primary.Number != active[0]):
		t.Fatalf("primary %v, %v; the model says %v", primary, err, active)
	case len(active) == 0 && !errors.Is(err, ErrNoPrimary):
		t.Fatalf("no version is active: %v", err)
	}
}

func TestMinDecryptVersion(t *testing.T) {
	rec := newTestRecord()
	for n := uint32(1); n <= 3; n++ {
		if err := rec.AddVersion(newTestVersion(n)); err != nil {
			t.Fatal(err)
		}
		if err := rec.SetPrimary(n, time.UnixMicro(1)); err != nil {
			t.Fatal(err)
		}
	}
	rec.Settings.MinDecryptVersion = 2
	for n, want := range map[uint32]error{1: ErrState, 2: nil, 3: nil, 4: ErrUnknownVersion, 0: ErrUnknownVersion} {
		if err := rec.CheckDecrypt(n); !errors.Is(err, want) {
			t.Errorf("version %d: %v, want %v", n, err, want)
		}
	}
}

func TestLabels(t *testing.T) {
	rec := newTestRecord()
	for _, c := range []struct {
		label string
		ok    bool
	}{
		{"", false},
		{"v2", false},
		{"v01", false},
		{"two\nlines", false},
		{"\u202ereversed", false},
		{"\xff", false},
		{strings.Repeat("x", MaxLabel+1), false},
		{"2026-Q1", true},
	} {
		v := newTestVersion(1)
		v.Label = c.label
		if err := rec.AddVersion(v); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrLabel) {
			t.Errorf("label %q: %v", c.label, err)
		}
	}
	v := newTestVersion(2)
	v.Label = "2026-Q1"
	if err := rec.AddVersion(v); !errors.Is(err, ErrLabel) {
		t.Errorf("a label was given twice: %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, breakIt := range map[string]func(*Record){
		"name":        func(r *Record) { r.Name = "Payments" },
		"algorithm":   func(r *Record) { r.Settings.Algorithm = "ROT13" },
		"order":       func(r *Record) { slices.Reverse(r.Versions) },
		"state":       func(r *Record) { r.Versions[0].State = "asleep" },
		"two active":  func(r *Record) { r.Versions[0].State = Active },
		"no such":     func(r *Record) { r.Primary = 9; r.Versions[1].State = Deactivated },
		"label twice": func(r *Record) { r.Versions[0].Label, r.Versions[1].Label = "a", "a" },
		"wrapless":    func(r *Record) { r.Versions[0].Wraps = nil },
		"destroyed":   func(r *Record) { r.Versions[0].State = Destroyed },
	} {
		_, rec := goldenRecord()
		if err := rec.Check(); err != nil {
			t.Fatal(err)
		}
		if breakIt(rec); rec.Check() == nil {
			t.Errorf("%s: a broken record passes", name)
		}
	}
}
