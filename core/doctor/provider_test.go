package doctor

import (
	"context"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
)

// lineage is the history of a key-encryption key: the version that it began with, and
// its rotations.
func lineage(versions ...string) *rewrap.Lineage {
	l := &rewrap.Lineage{}
	for i, v := range versions {
		e := history.Event{Seq: uint64(i) + 1, Type: history.KEKRotated, KEKVersion: v, Details: map[string]string{"kek_id": "kek/7"}}
		if i == 0 {
			e = history.Event{Seq: 1, Type: history.Creation, Details: map[string]string{"kek_id.prod": "kek/7", "kek_version.prod": v}}
		}
		l.Add(e)
	}
	return l
}

// healthy is a provider in order: three wraps, all by the primary version.
func healthy() Provider {
	return Provider{
		Name:  "prod",
		Check: provider.CheckResponse{Identity: "role/keyrotor", Account: "1111", Latency: 3200 * time.Microsecond},
		Key: provider.DescribeKeyResponse{
			KEKID: "kek/7", State: provider.KeyEnabled, PrimaryVersion: "2",
			Versions: []provider.KeyVersion{{Version: "1", State: provider.KeyEnabled}, {Version: "2", State: provider.KeyEnabled}},
		},
		Wraps:   map[KEK]int{{"kek/7", "2"}: 3},
		Lineage: lineage("1", "2"),
	}
}

const (
	reached   = "ok provider.reachable [prod] answers in 3.2ms, to us as role/keyrotor in 1111\n"
	described = "ok provider.kek [prod] kek/7 is enabled, primary version 2 of 2\n"
	wrapped   = "ok provider.wraps [prod] 3 wraps, all by the primary version\n"
)

func TestProviders(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Provider)
		want   string
	}{
		"healthy": {func(*Provider) {}, reached + described + wrapped},
		"deep": {
			func(p *Provider) { p.Deep, p.Check.Identity, p.Check.Account = true, "", "" },
			"ok provider.reachable [prod] wraps and unwraps in 3.2ms\n" + described + wrapped,
		},
		"slow": {func(p *Provider) { p.Check.Latency = 2 * time.Second }, `
warn provider.reachable [prod] answers in 2s, to us as role/keyrotor in 1111
  -> look at the key manager's load and at the network to it: rotations and first reads wait that long
` + described + wrapped},
		"not asked": {
			func(p *Provider) { p.Skipped = "its plugin would not be started" },
			"skipped provider.reachable [prod] its plugin would not be started\n",
		},
		"store unread": {
			func(p *Provider) { p.Wraps = nil },
			reached + described + "skipped provider.wraps [prod] the store's keys cannot be read\n",
		},
		"not described": {func(p *Provider) { p.KeyErr = provider.Errorf(provider.Denied, "no") }, reached + `fail provider.kek [prod] DENIED: no
  -> give this identity the rights that the provider's page lists
skipped provider.wraps [prod] it does not describe its key-encryption key
`},
		"disabled": {func(p *Provider) { p.Key.State = provider.KeyDisabled }, reached + `fail provider.kek [prod] kek/7 is disabled
  -> enable it in the key manager: until then nothing can be wrapped
` + wrapped},
		"primary disabled": {func(p *Provider) { p.Key.Versions[1].State, p.Wraps = provider.KeyDisabled, map[KEK]int{} }, reached +
			`fail provider.kek [prod] the primary version 2 of kek/7 is disabled
  -> enable it in the key manager: until then nothing can be wrapped
ok provider.wraps [prod] 0 wraps, so nothing depends on it yet
`},
		"another key": {func(p *Provider) { p.Wraps = map[KEK]int{{"kek/1", "1"}: 2, {"kek/7", "2"}: 1} }, reached + described +
			`fail provider.wraps [prod] 2 wraps are by kek/1, and the provider is configured for kek/7
  -> set the block of provider "prod" back to that key, and give the new one a block of its own
`},
		"version disabled": {func(p *Provider) {
			p.Key.Versions[0].State, p.Wraps = provider.KeyDisabled, map[KEK]int{{"kek/7", "1"}: 1}
		}, reached + described + `fail provider.wraps [prod] 1 wrap is by version 1 of its key-encryption key, which is disabled
  -> enable that version in the key manager again: what is wrapped by it alone does not open
`},
		"version unknown": {func(p *Provider) { p.Wraps = map[KEK]int{{"kek/7", "3"}: 1, {"kek/7", "2"}: 1} }, reached + described +
			`fail provider.wraps [prod] 1 wrap is by version 3 of its key-encryption key, which the key manager does not know
  -> restore the key-encryption key with all its versions: what is wrapped by this one alone does not open
`},
		"older versions": {func(p *Provider) { p.Wraps = map[KEK]int{{"kek/7", "1"}: 5, {"kek/7", "2"}: 1} }, reached + described +
			`warn provider.wraps [prod] 5 wraps are by older versions of the key-encryption key than the primary, 2
  -> run ` + "`keyrotor kek rewrap prod`\n"},
		"rotated outside": {func(p *Provider) {
			p.Wraps, p.Lineage = map[KEK]int{{"kek/7", "1"}: 1}, lineage("1")
		}, reached + described + `warn provider.wraps [prod] 1 wrap is by older versions of the key-encryption key than the primary, 2
  -> run ` + "`keyrotor kek rewrap prod`" + `
warn provider.rotated [prod] the primary version of the key-encryption key is 2, and the history knows of 1: it was rotated outside
  -> find out who rotated it, then run ` + "`keyrotor kek rewrap prod`\n"},
		"rotated here, nothing rewrapped": {func(p *Provider) { p.Wraps = map[KEK]int{{"kek/7", "1"}: 1} }, reached + described +
			`warn provider.wraps [prod] 1 wrap is by older versions of the key-encryption key than the primary, 2
  -> run ` + "`keyrotor kek rewrap prod`\n"},
		"AAD ignored": {func(p *Provider) { p.Key.IgnoresAAD = true }, reached + described +
			`warn provider.binding [prod] the key manager opens a wrap of kek/7 for whichever key version it is handed in; only Keyrotor's own check finds one that was moved
  -> make a key-encryption key that binds its wraps, as the provider's page says, give it a block of its own, then run ` +
			"`keyrotor key migrate --all --from prod --to` that block's name\n" + wrapped},
		"history unread": {func(p *Provider) { p.Lineage = nil }, reached + described + wrapped},
		"never used": {
			func(p *Provider) { p.Wraps, p.Lineage = map[KEK]int{}, lineage() },
			reached + described + "ok provider.wraps [prod] 0 wraps, so nothing depends on it yet\n",
		},
		"versions untold": {func(p *Provider) {
			p.Wraps, p.Lineage, p.Key.PrimaryVersion = map[KEK]int{{"kek/7", ""}: 3}, lineage("1"), ""
			p.Key.Versions = nil
		}, reached + "ok provider.kek [prod] kek/7 is enabled; its versions are not told, so it is not rotated but replaced, with `keyrotor key migrate`\n" +
			"ok provider.wraps [prod] 3 wraps, 3 of them by a version that is not told\n"},
	} {
		p := healthy()
		c.change(&p)
		expect(t, name, Providers([]Provider{p}), c.want)
	}
}

// TestRemedies: each code of the contract leads to another step.
func TestRemedies(t *testing.T) {
	attribute := provider.Errorf(provider.InvalidConfig, "no")
	attribute.Attribute = "auth.role_id"
	for _, c := range []struct {
		err  error
		want string
	}{
		{provider.NotFoundKey, "restore the key-encryption key, for nothing else opens its wraps; if there never was one, run `keyrotor kek create prod`"},
		{provider.Denied, "give this identity the rights that the provider's page lists"},
		{provider.Unauthenticated, `correct the credential that the block of provider "prod" names`},
		{provider.InvalidConfig, `correct the block of provider "prod" in the config file, or what it names`},
		{attribute, `correct "auth.role_id" of provider "prod" in the config file, or what it names`},
		{provider.InvalidState, "enable the key-encryption key in the key manager"},
		{provider.Integrity, "restore the key-encryption key from its backup, and find out who or what altered it"},
		{provider.Throttled, "look at the key manager and at the network to it, then run `keyrotor provider check prod`"},
		{context.DeadlineExceeded, "look at the key manager and at the network to it, then run `keyrotor provider check prod`"},
		{provider.PluginCrashed, "run `keyrotor provider check prod --log-level debug` and read what the plugin says"},
		{provider.Internal, "run `keyrotor provider check prod --log-level debug` and read what the plugin says"},
	} {
		p := healthy()
		p.CheckErr = c.err
		got := Providers([]Provider{p})[0]
		if want := (Finding{Check: "provider.reachable", Subject: "prod", Status: Fail, Evidence: c.err.Error(), Next: c.want}); got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
}
