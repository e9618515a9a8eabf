package policy

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// made is when the version of most keys here was made.
var made = at("2026-01-10T12:00:00Z")

const madeSlot = "v3@1768046400000000"

func withUses(uses, total uint64) Key {
	key := madeAt(made)
	key.Uses, key.TotalUses = uses, total
	return key
}

func TestDecide(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	age := must(NewMaxAge(90 * day))
	uses := must(NewMaxUses(1000))
	monthly := must(NewMonthly(1, clockTime("02:00"), berlin))
	slow := must(NewCustom("slow", "when it is slow", func(k Key, now time.Time) Decision {
		return Decision{Due: now.Year() > 2026, Why: "slow"}
	}))
	for _, tt := range []struct {
		name   string
		policy Policy
		key    Key
		now    string
		want   Decision // without Why and Parts
	}{
		{"age, before", age, madeAt(made), "2026-04-10T11:59:59Z", Decision{Next: at("2026-04-10T12:00:00Z")}},
		{"age, at", age, madeAt(made), "2026-04-10T12:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonTimeExpired, Slot: madeSlot, Since: at("2026-04-10T12:00:00Z"),
		}},
		{"age, late", age, madeAt(made), "2030-01-01T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonTimeExpired, Slot: madeSlot, Since: at("2026-04-10T12:00:00Z"),
		}},
		{"uses, below", uses, withUses(999, 5000), "2026-01-11T00:00:00Z", Decision{}},
		{"uses, at", uses, withUses(1000, 1000), "2026-01-11T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonUsageLimit, Slot: madeSlot,
		}},
		{"hard limit, below half", HardLimit{}, withUses(0, 1<<31-1), "2026-01-11T00:00:00Z", Decision{}},
		{"hard limit, half, by re-encryption", HardLimit{}, withUses(0, 1<<31), "2026-01-11T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonUsageLimit, Slot: madeSlot,
		}},
		{"hard limit, unknown", HardLimit{}, Key{Version: 1, TotalUses: 7}, "2026-01-11T00:00:00Z", Decision{}},
		{"hard limit of one, unused", HardLimit{}, Key{Version: 1, HardLimit: 1}, "2026-01-11T00:00:00Z", Decision{}},
		{"schedule, before", monthly, madeAt(made), "2026-02-01T00:59:59Z", Decision{Next: at("2026-02-01T01:00:00Z")}},
		{"schedule, at", monthly, madeAt(made), "2026-02-01T01:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonScheduled, Slot: "2026-02-01T01:00:00Z", Since: at("2026-02-01T01:00:00Z"),
		}},
		{"schedule, three missed", monthly, madeAt(made), "2026-04-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonScheduled, Slot: "2026-04-01T00:00:00Z", Since: at("2026-02-01T01:00:00Z"),
		}},
		{"schedule, rotated at the slot", monthly, madeAt(at("2026-02-01T01:00:00Z")), "2026-02-01T02:00:00Z", Decision{Next: at("2026-03-01T01:00:00Z")}},
		{"schedule, rotated in the future", monthly, madeAt(at("2026-02-01T01:00:01Z")), "2026-02-01T01:00:00Z", Decision{Next: at("2026-03-01T01:00:00Z")}},
		{"any, none", must(NewAny(age, monthly, uses)), madeAt(made), "2026-01-20T00:00:00Z", Decision{Next: at("2026-02-01T01:00:00Z")}},
		{"any, one", must(NewAny(age, monthly, uses)), madeAt(made), "2026-03-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonComposite, Slot: "schedule:2026-03-01T01:00:00Z", Since: at("2026-02-01T01:00:00Z"),
		}},
		{"any, two, the earlier counts", must(NewAny(age, monthly)), madeAt(made), "2026-05-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonComposite, Slot: "schedule:2026-05-01T00:00:00Z", Since: at("2026-02-01T01:00:00Z"),
		}},
		{"any, who does not know when is first", must(NewAny(age, uses)), withUses(1000, 1000), "2026-05-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonComposite, Slot: "max_uses:" + madeSlot,
		}},
		{"any in any", must(NewAny(must(NewAny(monthly)), age)), madeAt(made), "2026-02-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonComposite, Slot: "any:schedule:2026-02-01T01:00:00Z", Since: at("2026-02-01T01:00:00Z"),
		}},
		{"all, some", must(NewAll(age, monthly)), madeAt(made), "2026-02-20T00:00:00Z", Decision{Next: at("2026-04-10T12:00:00Z")}},
		{"all, one that cannot know", must(NewAll(age, uses)), madeAt(made), "2026-02-20T00:00:00Z", Decision{}},
		{"all, every", must(NewAll(age, monthly)), madeAt(made), "2026-05-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonComposite, Slot: madeSlot, Since: at("2026-04-10T12:00:00Z"),
		}},
		{"all, every, one without a time", must(NewAll(age, uses)), withUses(1000, 1000), "2026-05-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonComposite, Slot: madeSlot,
		}},
		{"custom, not due", slow, madeAt(made), "2026-05-20T00:00:00Z", Decision{}},
		{"custom, due", slow, madeAt(made), "2027-05-20T00:00:00Z", Decision{
			Due: true, Reason: keyring.ReasonComposite, Slot: madeSlot,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.policy.Decide(tt.key, at(tt.now))
			if got.Why == "" {
				t.Error("no words")
			}
			got.Why, got.Parts = "", nil
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestNoPrimaryIsNeverDue(t *testing.T) {
	key := withUses(1<<40, 1<<40)
	key.Version = 0
	always := must(NewCustom("always", "always", func(Key, time.Time) Decision { return Decision{Due: true} }))
	age, uses := must(NewMaxAge(time.Hour)), must(NewMaxUses(1))
	daily := must(NewDaily(0, nil))
	window := must(NewWindow(nil, 0, 60, nil))
	for _, p := range []Policy{
		age, uses, daily,
		HardLimit{},
		always, must(NewAny(age, uses, always)), must(NewAll(age, uses)),
		must(NewJitter(age, time.Hour)), must(NewBlackout(uses, window)),
	} {
		if d := p.Decide(key, at("2030-01-01T00:00:00Z")); d.Due || !d.Next.IsZero() || !strings.Contains(d.Why, "suspended") {
			t.Errorf("%s: %+v", p.Name(), d)
		}
	}
}

func TestDescriptions(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	age, uses := must(NewMaxAge(90*day)), must(NewMaxUses(1000000))
	two := clockTime("02:00")
	window := must(NewWindow([]time.Weekday{time.Tuesday, time.Monday}, clockTime("08:00"), clockTime("18:00"), berlin))
	night := must(NewWindow(nil, clockTime("22:00"), clockTime("06:00"), nil))
	freeze := must(NewDatedWindow(must(ParseDate("2026-12-20 18:00")), must(ParseDate("2027-01-02")), berlin))
	for _, tt := range []struct {
		policy Policy
		want   string
	}{
		{age, "every 90 days"},
		{must(NewMaxAge(36 * time.Hour)), "every 1 day 12 hours"},
		{uses, "every 1,000,000 uses"},
		{must(NewMaxUses(1)), "every 1 use"},
		{HardLimit{}, "at half of the hard limit of uses (built in)"},
		{must(NewDaily(two, nil)), "every day at 02:00 UTC"},
		{must(NewWeekly([]time.Weekday{time.Sunday, time.Wednesday}, two, berlin)), "every Wednesday and Sunday at 02:00 Europe/Berlin"},
		{must(NewMonthly(1, two, nil)), "on day 1 of each month at 02:00 UTC"},
		{must(NewMonthly(30, two, nil)), "on day 30 of each month, or its last, at 02:00 UTC"},
		{must(NewMonthly(LastDay, two, berlin)), "on the last day of each month at 02:00 Europe/Berlin"},
		{must(NewCron("0 2 * * 1-5", berlin)), `on the cron schedule "0 2 * * 1-5" Europe/Berlin`},
		{must(NewAny(age, uses)), "every 90 days or every 1,000,000 uses"},
		{must(NewAll(must(NewAny(age, uses)), age, uses)), "(every 90 days or every 1,000,000 uses), every 90 days and every 1,000,000 uses"},
		{must(NewJitter(age, 2*time.Hour)), "every 90 days, up to 2 hours later"},
		{must(NewBlackout(age, window)), "every 90 days, but not on Monday and Tuesday from 08:00 to 18:00 Europe/Berlin"},
		{must(NewBlackout(age, night, freeze)), "every 90 days, but not every day from 22:00 to 06:00 of the next day UTC or from 2026-12-20 18:00 to the end of 2027-01-02 Europe/Berlin"},
	} {
		if got := tt.policy.Description(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
