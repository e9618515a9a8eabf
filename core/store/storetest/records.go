package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// testDigest: for any record, and any later one, the digest of what is read back
// is the digest in the last event.
func testDigest(s *suite) {
	n := 0
	rapid.Check(s.T, func(t *rapid.T) {
		n++
		name := numbered("key-", n)
		first := drawRecord(t, name, nil)
		checkDigest(s, t, store.Update{Name: name, Create: true}, first)
		checkDigest(s, t, store.Update{Name: name}, drawRecord(t, name, &first))
	})
}

func checkDigest(s *suite, t *rapid.T, u store.Update, next keyring.Record) {
	u.Apply = func(r *keyring.Record) ([]history.Event, error) {
		*r = next
		return []history.Event{{Type: history.ConfigChange}}, nil
	}
	answered, err := s.Update(s.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Key(s.Context(), u.Name)
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.Events(s.Context(), history.Query{Key: u.Name, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	last, err := history.Decode(page.Events[0])
	if err != nil {
		t.Fatal(err)
	}
	if digest := got.Digest(s.ID()).String(); digest != last.Digest || digest != got.LastDigest {
		t.Fatalf("the record read back has the digest %s, its last event %s, LastDigest is %s\nread    %+v\nwritten %+v",
			digest, last.Digest, got.LastDigest, got.Record, next)
	}
	if want := store.Canonical(&next); !reflect.DeepEqual(got.Record, want) {
		t.Fatalf("read    %+v\nwritten %+v", got.Record, want)
	}
	if !reflect.DeepEqual(got, answered) {
		t.Fatalf("Update answered %+v\nKey answers     %+v", answered, got)
	}
}

// drawRecord draws a record that may follow old, or any record if old is nil.
func drawRecord(t *rapid.T, name string, old *keyring.Record) keyring.Record {
	r := keyring.Record{Name: name, ID: keyID(name), Created: drawTime(t)}
	var numbers []uint32
	if old != nil {
		r.Created = old.Created
		for _, v := range old.Versions {
			numbers = append(numbers, v.Number)
		}
	}
	r.Settings = keyring.Settings{
		Algorithm:  drawAlgorithm(t),
		BlockReads: rapid.Bool().Draw(t, "blockReads"),
		HardLimit:  rapid.Uint64Range(1, keyring.MaxUses).Draw(t, "limit"),
		WrapWith:   rapid.SliceOfN(text(), 0, 3).Draw(t, "wrapWith"),
	}
	last := uint32(0)
	if len(numbers) > 0 {
		last = numbers[len(numbers)-1]
	}
	for range rapid.IntRange(0, 4).Draw(t, "new") {
		last += rapid.Uint32Range(1, 1000).Draw(t, "step")
		numbers = append(numbers, last)
	}
	r.Settings.MinDecryptVersion = rapid.Uint32Max(last).Draw(t, "min")
	if len(numbers) > 0 && rapid.Bool().Draw(t, "hasPrimary") {
		r.Primary = rapid.SampledFrom(numbers).Draw(t, "primary")
	}
	for _, n := range numbers {
		r.Versions = append(r.Versions, drawVersion(t, n, n == r.Primary))
	}
	return r
}

func drawVersion(t *rapid.T, number uint32, primary bool) keyring.Version {
	v := keyring.Version{
		Number:       number,
		Label:        fmt.Sprintf("%d-%s", number, text().Draw(t, "label")),
		State:        keyring.Active,
		Algorithm:    drawAlgorithm(t),
		Created:      drawTime(t),
		Activated:    drawTime(t),
		StateChanged: drawTime(t),
		Reason:       rapid.SampledFrom(keyring.Reasons()).Draw(t, "reason"),
		KCV:          keyring.KCV(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "kcv")),
	}
	if !primary {
		v.State = rapid.SampledFrom([]keyring.State{
			keyring.PreActive, keyring.Deactivated, keyring.Suspended,
			keyring.Compromised, keyring.Quarantined, keyring.Destroyed,
		}).Draw(t, "state")
	}
	if v.State == keyring.Destroyed {
		return v
	}
	providers := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}`), 1, 3, rapid.ID[string]).Draw(t, "providers")
	slices.Sort(providers)
	for _, p := range providers {
		v.Wraps = append(v.Wraps, keyring.Wrap{
			Provider: p, KEKID: text().Draw(t, "kek"), KEKVersion: text().Draw(t, "kekVersion"),
			Blob: rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "blob"), Created: drawTime(t),
		})
	}
	return v
}

func drawAlgorithm(t *rapid.T) keyring.Algorithm {
	return rapid.SampledFrom([]keyring.Algorithm{keyring.AES256GCM, keyring.XChaCha20Poly1305}).Draw(t, "algorithm")
}

// drawTime draws the zero time, and times of any precision in any zone.
func drawTime(t *rapid.T) time.Time {
	if rapid.IntRange(0, 4).Draw(t, "zero") == 0 {
		return time.Time{}
	}
	seconds := rapid.Int64Range(-1e10, 1e11).Draw(t, "seconds")
	nanos := rapid.Int64Range(0, 1e9-1).Draw(t, "nanos")
	zone := rapid.IntRange(-50000, 50000).Draw(t, "zone")
	return time.Unix(seconds, nanos).In(time.FixedZone("", zone))
}

// text draws UTF-8 without NUL, which every database keeps.
func text() *rapid.Generator[string] {
	return rapid.StringN(0, 12, -1).Filter(func(s string) bool {
		return !slices.Contains([]byte(s), 0)
	})
}
