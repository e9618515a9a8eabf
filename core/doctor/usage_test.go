package doctor

import (
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// used is a key whose version 1 encrypted for ten days, and version 2 for two, until noon.
func used(first, second uint64, change func(*store.Key)) store.Key {
	return sealed("payments", func(k *store.Key) {
		k.Created = noon.Add(-12 * day)
		k.Settings.HardLimit = keyring.MaxUses
		for i, ago := range []time.Duration{12 * day, 2 * day} {
			v := &k.Versions[i]
			v.Created, v.Activated, v.StateChanged = noon.Add(-ago), noon.Add(-ago), noon.Add(-ago)
		}
		k.Versions[0].StateChanged = noon.Add(-2 * day)
		k.Uses = map[uint32]uint64{1: first, 2: second}
		if change != nil {
			change(k)
		}
	})
}

func TestUnusualUsage(t *testing.T) {
	for name, c := range map[string]struct {
		key     store.Key
		held    []store.Holding
		heldErr error
		without []string
		want    string
	}{
		"as before": {key: used(50_000, 10_000, nil)},
		"ten times": {key: used(50_000, 100_000, nil)},
		"over ten times": {key: used(50_000, 100_002, nil), without: []string{"usage"}, want: `
warn key.usage [payments] version 2 encrypts 50001 uses a day, and no version before more than version 1 with 5000 uses a day
  -> find out who encrypts so often: ` + "`keyrotor usage payments`" + ` shows which processes hold uses
`},
		"by re-encryption":   {key: used(50_000, 200_000, func(k *store.Key) { k.Reencrypted = map[uint32]uint64{2: 150_000} })},
		"a moment old":       {key: used(50_000, 100_000, func(k *store.Key) { k.Versions[1].Activated = noon.Add(-59 * time.Minute) })},
		"hardly used before": {key: used(999, 1_000_000, nil)},
		"suspended since": {key: used(50_000, 100_002, func(k *store.Key) {
			k.Versions[0].StateChanged = noon.Add(-time.Minute) // its pace is that until version 2 came
		}), without: []string{"usage"}, want: `
warn key.usage [payments] version 2 encrypts 50001 uses a day, and no version before more than version 1 with 5000 uses a day
  -> find out who encrypts so often: ` + "`keyrotor usage payments`" + ` shows which processes hold uses
`},
		"in a hurry": {key: used(10_000, 10_000, func(k *store.Key) { k.Settings.HardLimit = 9_000 * 3 }), without: nil},
		"hardly a day": {key: used(100_000, 6_000, func(k *store.Key) { k.Settings.HardLimit = 5_000 }), without: []string{"usage", "uses"}, want: `
fail key.uses [payments] version 2 has 6000 of 5000 uses, and encrypts no more
  -> run ` + "`keyrotor key rotate payments`" + `
warn key.usage [payments] version 2 has 3000 uses a day, so that half of its hard limit of 5000 lasts 20h0m: a rotation that fails for so long stops encryption
  -> raise it: ` + "`keyrotor key set payments --hard-limit NUMBER`" + `, up to 4294967296; or give values of one kind a key of their own
`},
		"held by the primary":  {key: used(0, 0, nil), held: []store.Holding{{Version: 2, Owner: "elsewhere/7/1", Leases: 1, Uses: 64, Expires: noon}}},
		"held for re-encrypts": {key: used(0, 0, nil), held: []store.Holding{{Version: 1, Owner: "elsewhere/7/1", Leases: 1, Uses: 64, Reencrypting: 64, Expires: noon}}},
		"held a moment longer": {key: used(0, 0, func(k *store.Key) { k.Versions[0].StateChanged = noon.Add(-59 * time.Second) }), held: []store.Holding{{Version: 1, Owner: "elsewhere/7/1", Uses: 64}}},
		"held too long": {
			key: used(0, 0, nil), held: []store.Holding{{Version: 1, Owner: "elsewhere/7/1", Leases: 1, Uses: 64, Expires: noon.Add(time.Minute)}}, without: []string{"leases"}, want: `
warn key.leases [payments] process elsewhere/7/1 may encrypt under version 1 until 2026-03-01T12:01:00Z, which is deactivated since 2026-02-27T12:00:00Z
  -> look into its log: it hangs, or cannot read the store; at that time its uses are over
`,
		},
		"held by the dead": {
			key: used(0, 0, nil), held: []store.Holding{
				{Version: 1, Owner: gone(t), Leases: 1, Uses: 64, Expires: noon}, {Version: 2, Owner: gone(t), Leases: 2, Uses: 128, Expires: noon},
			}, without: []string{"leases"}, want: `
warn key.leases [payments] 192 uses are held by 2 processes that ended without giving them back, and count as used
  -> look why; a process that is killed over and over uses a key up
`,
		},
		"unread": {key: used(0, 0, nil), heldErr: store.ErrCorrupt, without: []string{"leases"}, want: "fail key.leases [payments] the store is damaged\n  -> RESTORE\n"},
		"made in the future": {key: used(0, 0, func(k *store.Key) { k.Versions[1].Created = noon.Add(time.Hour) }), without: []string{"clock"}, want: `
warn key.clock [payments] version 2 was made or activated at 2026-03-01T13:00:00Z, which is 1h0m ahead of this machine's clock: its age counts from then
  -> set the clocks of all machines (e.g. ` + "`timedatectl status`), then run `keyrotor key rotate payments`" + ` if the key must not wait so long
`},
		"a second ahead": {key: used(0, 0, func(k *store.Key) { k.Versions[1].Created = noon.Add(time.Second) })},
	} {
		s := keyStore{keys: map[string]store.Key{"payments": c.key}, held: c.held, heldErr: c.heldErr}
		findings, _ := Keys(t.Context(), s, Circumstances{Providers: []string{"local"}, Now: noon})
		want := c.want
		if want != "" && want[0] == '\n' {
			want = want[1:]
		}
		expect(t, name, findings, inOrder("1 key", c.without...)+want)
	}
}
