package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
)

const (
	providerReachable check = "provider.reachable"
	providerKEK       check = "provider.kek"
	providerWraps     check = "provider.wraps"
	providerRotated   check = "provider.rotated"
	providerBinding   check = "provider.binding"
)

// slow is a latency at which a rotation begins to be felt.
const slow = 2 * time.Second

// KEK is a version of a key-encryption key as wraps name it.
type KEK struct{ ID, Version string }

// Provider is what a configured provider answered.
type Provider struct {
	Name string
	// Skipped says why it was not asked; empty if it was.
	Skipped string
	// Deep: a value was wrapped and unwrapped, too.
	Deep     bool
	Check    provider.CheckResponse
	CheckErr error
	Key      provider.DescribeKeyResponse
	KeyErr   error
	// Wraps counts the wraps of versions that are not destroyed; nil if the store
	// could not be read.
	Wraps map[KEK]int
	// Lineage is what the history says of key-encryption keys; nil if it could not be read.
	Lineage *rewrap.Lineage
}

// Providers says of each provider whether it answers, what it says of its
// key-encryption key, and whether the wraps that the store holds still fit that.
func Providers(providers []Provider) []Finding {
	var findings []Finding
	for _, p := range providers {
		findings = append(findings, p.examine()...)
	}
	return findings
}

func (p Provider) examine() []Finding {
	if p.Skipped != "" {
		return []Finding{providerReachable.skip(p.Name, p.Skipped)}
	}
	findings := []Finding{p.reachable(), p.kek()}
	if p.KeyErr != nil {
		return append(findings, providerWraps.skip(p.Name, "it does not describe its key-encryption key"))
	}
	if p.Key.IgnoresAAD {
		findings = append(findings, providerBinding.warn(p.Name,
			"the key manager opens a wrap of "+p.Key.KEKID+" for whichever key version it is handed in; only Keyrotor's own check finds one that was moved",
			fmt.Sprintf("make a key-encryption key that binds its wraps, as the provider's page says, give it a block of its own, "+
				"then run `keyrotor key migrate --all --from %s --to` that block's name", p.Name)))
	}
	if p.Wraps == nil {
		return append(findings, providerWraps.skip(p.Name, "the store's keys cannot be read"))
	}
	return append(findings, p.wraps()...)
}

func (p Provider) reachable() Finding {
	how := "answers"
	if p.Deep {
		how = "wraps and unwraps"
	}
	evidence := fmt.Sprintf("%s in %s", how, p.Check.Latency.Round(time.Microsecond))
	if p.Check.Identity != "" {
		evidence += ", to us as " + p.Check.Identity
	}
	if p.Check.Account != "" {
		evidence += " in " + p.Check.Account
	}
	switch {
	case p.CheckErr != nil:
		return providerReachable.fail(p.Name, p.CheckErr.Error(), p.remedy(p.CheckErr))
	case p.Check.Latency >= slow:
		return providerReachable.warn(p.Name, evidence, "look at the key manager's load and at the network to it: rotations and first reads wait that long")
	default:
		return providerReachable.ok(p.Name, "%s", evidence)
	}
}

// remedy is what to do about an error of a provider.
func (p Provider) remedy(err error) string {
	switch provider.CodeOf(err) {
	case provider.NotFoundKey:
		return fmt.Sprintf("restore the key-encryption key, for nothing else opens its wraps; if there never was one, run `keyrotor kek create %s`", p.Name)
	case provider.Denied:
		return "give this identity the rights that the provider's page lists"
	case provider.Unauthenticated:
		return fmt.Sprintf("correct the credential that the block of provider %q names", p.Name)
	case provider.InvalidConfig:
		attribute := "the block"
		if e, ok := errors.AsType[*provider.Error](err); ok && e.Attribute != "" {
			attribute = fmt.Sprintf("%q", e.Attribute)
		}
		return fmt.Sprintf("correct %s of provider %q in the config file, or what it names", attribute, p.Name)
	case provider.InvalidState:
		return "enable the key-encryption key in the key manager"
	case provider.Integrity:
		return "restore the key-encryption key from its backup, and find out who or what altered it"
	case provider.Throttled, provider.Unavailable:
		return fmt.Sprintf("look at the key manager and at the network to it, then run `keyrotor provider check %s`", p.Name)
	default:
		return fmt.Sprintf("run `keyrotor provider check %s --log-level debug` and read what the plugin says", p.Name)
	}
}

func (p Provider) kek() Finding {
	if p.KeyErr != nil {
		return providerKEK.fail(p.Name, p.KeyErr.Error(), p.remedy(p.KeyErr))
	}
	k := p.Key
	enable := "enable it in the key manager: until then nothing can be wrapped"
	if k.State != provider.KeyEnabled {
		return providerKEK.fail(p.Name, fmt.Sprintf("%s is %s", k.KEKID, k.State), enable)
	}
	if state, ok := p.state(k.PrimaryVersion); ok && state != provider.KeyEnabled {
		return providerKEK.fail(p.Name, fmt.Sprintf("the primary version %s of %s is %s", k.PrimaryVersion, k.KEKID, state), enable)
	}
	if k.PrimaryVersion == "" {
		return providerKEK.ok(p.Name, "%s is enabled; its versions are not told, so it is not rotated but replaced, with `keyrotor key migrate`", k.KEKID)
	}
	return providerKEK.ok(p.Name, "%s is enabled, primary version %s of %d", k.KEKID, k.PrimaryVersion, len(k.Versions))
}

// state is that of a version of the key-encryption key, if it is known at all.
func (p Provider) state(version string) (provider.KeyState, bool) {
	for _, v := range p.Key.Versions {
		if v.Version == version {
			return v.State, true
		}
	}
	return "", false
}

// wraps compares the wraps in the store with the key-encryption key.
func (p Provider) wraps() []Finding {
	var findings []Finding
	total, older, untold := 0, 0, 0
	for _, kek := range p.sortedKEKs() {
		n := p.Wraps[kek]
		total += n
		state, listed := p.state(kek.Version)
		switch {
		case kek.ID != p.Key.KEKID:
			findings = append(findings, providerWraps.fail(p.Name,
				fmt.Sprintf("%s by %s, and the provider is configured for %s", isAre(n, "wrap"), kek.ID, p.Key.KEKID),
				fmt.Sprintf("set the block of provider %q back to that key, and give the new one a block of its own", p.Name)))
		case kek.Version == "" || p.Key.PrimaryVersion == "": // not every key manager tells
			untold += n
		case listed && state != provider.KeyEnabled:
			findings = append(findings, providerWraps.fail(p.Name,
				fmt.Sprintf("%s by version %s of its key-encryption key, which is %s", isAre(n, "wrap"), kek.Version, state),
				"enable that version in the key manager again: what is wrapped by it alone does not open"))
		case !listed && len(p.Key.Versions) > 0:
			findings = append(findings, providerWraps.fail(p.Name,
				fmt.Sprintf("%s by version %s of its key-encryption key, which the key manager does not know", isAre(n, "wrap"), kek.Version),
				"restore the key-encryption key with all its versions: what is wrapped by this one alone does not open"))
		case kek.Version != p.Key.PrimaryVersion:
			older += n
		}
	}
	if older > 0 {
		findings = append(findings, providerWraps.warn(p.Name,
			fmt.Sprintf("%s by older versions of the key-encryption key than the primary, %s", isAre(older, "wrap"), p.Key.PrimaryVersion),
			"run `keyrotor kek rewrap "+p.Name+"`"))
	}
	if len(findings) == 0 {
		how := "all by the primary version"
		switch {
		case total == 0:
			how = "so nothing depends on it yet"
		case untold > 0:
			how = fmt.Sprintf("%d of them by a version that is not told", untold)
		}
		findings = []Finding{providerWraps.ok(p.Name, "%s, %s", count(total, "wrap"), how)}
	}
	return append(findings, p.rotated()...)
}

// rotated notices a primary version that the history does not know: somebody rotated
// the key-encryption key elsewhere.
func (p Provider) rotated() []Finding {
	if p.Lineage == nil || p.Key.PrimaryVersion == "" {
		return nil
	}
	last, known := p.Lineage.Knows(p.Key.KEKID, p.Key.PrimaryVersion)
	if known {
		return nil
	}
	return []Finding{providerRotated.warn(p.Name,
		fmt.Sprintf("the primary version of the key-encryption key is %s, and the history knows of %s: it was rotated outside", p.Key.PrimaryVersion, last),
		"find out who rotated it, then run `keyrotor kek rewrap "+p.Name+"`")}
}

func (p Provider) sortedKEKs() []KEK {
	keks := make([]KEK, 0, len(p.Wraps))
	for kek := range p.Wraps {
		keks = append(keks, kek)
	}
	slices.SortFunc(keks, func(a, b KEK) int {
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return strings.Compare(a.Version, b.Version)
	})
	return keks
}

// isAre says "1 wrap is" or "2 wraps are".
func isAre(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return count(n, what) + " are"
}
