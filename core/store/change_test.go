package store

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// sample has versions 1 (deactivated) and 2 (active), each wrapped by a and b.
func sample() keyring.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	r := keyring.Record{
		ID: keyring.KeyID{1}, Name: "payments", Created: at, Primary: 2,
		Settings: keyring.Settings{Algorithm: keyring.AES256GCM, HardLimit: 1000, WrapWith: []string{"a", "b"}},
	}
	for n := uint32(1); n <= 2; n++ {
		state := keyring.Deactivated
		if n == 2 {
			state = keyring.Active
		}
		r.Versions = append(r.Versions, keyring.Version{
			Number: n, Label: keyring.VersionLabel(n), State: state, Algorithm: keyring.AES256GCM, Created: at, Reason: keyring.ReasonManual,
			Wraps: []keyring.Wrap{{Provider: "a", Blob: []byte{1}, Created: at}, {Provider: "b", Blob: []byte{2}, Created: at}},
		})
	}
	return r
}

// summary is a change in short: "key v1 +v3 -1a 2b" says that the key's row and
// version 1 changed, version 3 is new, and wraps 1a and 2b were dropped and put.
func summary(c Change) string {
	var b bytes.Buffer
	if c.Key {
		b.WriteString("key ")
	}
	for _, v := range c.Versions {
		sign := ""
		if v.New {
			sign = "+"
		}
		fmt.Fprintf(&b, "%sv%d ", sign, v.Number)
	}
	for _, w := range c.Drop {
		fmt.Fprintf(&b, "-%d%s ", w.Version, w.Provider)
	}
	for _, w := range c.Put {
		fmt.Fprintf(&b, "%d%s ", w.Version, w.Provider)
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

func TestDiff(t *testing.T) {
	version := func(r *keyring.Record, n uint32) *keyring.Version { v, _ := r.Version(n); return v }
	for name, c := range map[string]struct {
		change func(r *keyring.Record)
		want   string
	}{
		"nothing":      {func(*keyring.Record) {}, ""},
		"same instant": {func(r *keyring.Record) { r.Versions[0].Created = r.Created.In(time.FixedZone("", 60)) }, ""},
		"settings":     {func(r *keyring.Record) { r.Settings.MinDecryptVersion = 2 }, "key"},
		"providers":    {func(r *keyring.Record) { r.Settings.WrapWith = []string{"b", "a"} }, "key"},
		"label":        {func(r *keyring.Record) { version(r, 1).Label = "old" }, "v1"},
		"kcv":          {func(r *keyring.Record) { version(r, 1).KCV[15] = 1 }, "v1"},
		"time":         {func(r *keyring.Record) { version(r, 1).StateChanged = r.Created }, "v1"},
		"wrap added": {func(r *keyring.Record) {
			v := version(r, 1)
			v.Wraps = append(v.Wraps, keyring.Wrap{Provider: "c", Blob: []byte{3}})
		}, "1c"},
		"wrap in front": {func(r *keyring.Record) {
			v := version(r, 2)
			v.Wraps = slices.Insert(v.Wraps, 0, keyring.Wrap{Provider: "A", Blob: []byte{3}})
		}, "2A"},
		"wrap replaced": {func(r *keyring.Record) { version(r, 2).Wraps[1].Blob = []byte{9} }, "2b"},
		"wrap moved":    {func(r *keyring.Record) { version(r, 2).Wraps[1].Provider = "c" }, "-2b 2c"},
		"wrap dropped":  {func(r *keyring.Record) { v := version(r, 1); v.Wraps = v.Wraps[1:] }, "-1a"},
		"kek version":   {func(r *keyring.Record) { version(r, 1).Wraps[0].KEKVersion = "7" }, "1a"},
		"destroyed": {func(r *keyring.Record) {
			v := version(r, 1)
			v.State, v.Wraps = keyring.Destroyed, nil
		}, "v1 -1a -1b"},
		// The one that becomes active is written after the one that ceases to be.
		"back to an older version": {func(r *keyring.Record) {
			version(r, 1).State, version(r, 2).State, r.Primary = keyring.Active, keyring.Deactivated, 1
		}, "key v2 v1"},
		"rotated": {func(r *keyring.Record) {
			v := *version(r, 1)
			v.Number, v.Label, v.Wraps = 5, "v5", v.Wraps[:1]
			r.Versions = append(r.Versions, v)
			if err := r.SetState(2, keyring.Suspended, r.Created); err != nil {
				t.Fatal(err)
			}
		}, "key v2 +v5 5a"},
	} {
		old, next := sample(), sample()
		c.change(&next)
		change, err := Diff(&old, &next)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := summary(change); got != c.want || change.Empty() != (c.want == "") {
			t.Errorf("%s: change %q, empty %v; want %q", name, got, change.Empty(), c.want)
		}
	}

	next := sample()
	change, err := Diff(&keyring.Record{}, &next)
	if got, want := summary(change), "key +v1 +v2 1a 1b 2a 2b"; err != nil || got != want {
		t.Errorf("created: %q, %v; want %q", got, err, want)
	}
}

func TestMicros(t *testing.T) {
	zone := time.FixedZone("", 3600)
	for _, c := range []struct {
		in, want time.Time
	}{
		{time.Time{}, time.Time{}},
		{time.Time{}.In(zone), time.Time{}},
		{time.Date(2026, 1, 2, 3, 4, 5, 123456789, zone), time.Date(2026, 1, 2, 2, 4, 5, 123456000, time.UTC)},
		{time.Date(1950, 1, 1, 0, 0, 0, 1999, time.UTC), time.Date(1950, 1, 1, 0, 0, 0, 1000, time.UTC)},
		{time.Unix(0, 0), time.Time{}}, // the digest does not tell them apart either
	} {
		if got := FromMicros(Micros(c.in)); got != c.want {
			t.Errorf("%v reads back as %v, want %v", c.in, got, c.want)
		}
	}
}

func TestCloneAndCanonicalShareNothing(t *testing.T) {
	for name, copied := range map[string]func(*keyring.Record) keyring.Record{"Clone": Clone, "Canonical": Canonical} {
		r := sample()
		c := copied(&r)
		r.Settings.WrapWith[0], r.Versions[0].Label = "x", "x"
		r.Versions[0].Wraps[0].Provider, r.Versions[0].Wraps[1].Blob[0] = "x", 9
		want := sample()
		if c.Digest(keyring.StoreID{}) != want.Digest(keyring.StoreID{}) {
			t.Errorf("%s: the copy changed with the original: %+v", name, c)
		}
	}
}
