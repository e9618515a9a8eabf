package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

const rotationHCL = `
key "age" {
  rotation {
    max_age = "1d12h"
  }
}
key "uses" {
  hard_limit = 2000
  rotation {
    max_uses = 1000
  }
}
key "daily" {
  rotation {
    schedule {
      daily = true
      at    = "02:00"
    }
    jitter = "2h"
  }
}
key "weekly" {
  rotation {
    schedule {
      weekly   = "sunday"
      at       = "23:30"
      timezone = "Europe/Berlin"
    }
    blackout {
      days     = ["mon", "Tuesday"]
      from     = "08:00"
      to       = "18:00"
      timezone = "America/New_York"
    }
    blackout {
      start    = "2026-12-20"
      end      = "2027-01-02 12:00"
      timezone = "Europe/Berlin"
    }
  }
}
key "nested" {
  rotation {
    any {
      all {
        max_age = "30d"
        schedule {
          weekly = ["sat", "sun"]
          at     = "04:00"
        }
      }
      all {
        max_age  = "7d"
        max_uses = 500
      }
      schedule {
        monthly = "last"
        at      = "00:00"
      }
      schedule {
        cron     = "0 2 13 * *"
        timezone = "Asia/Kathmandu"
      }
    }
    jitter = "30m"
    blackout {
      from = "22:00"
      to   = "06:00"
    }
  }
}
key "monthly" {
  rotation {
    schedule {
      monthly = 30
      at      = "12:00"
    }
  }
}
key "none" {
}
scheduler {
  interval = "90s"
}
serve {
  listen = "[::1]:9000"
}
`

const rotationJSON = `"key": {
  "age": {"rotation": {"max_age": "1d12h"}},
  "uses": {"hard_limit": 2000, "rotation": {"max_uses": 1000}},
  "daily": {"rotation": {"schedule": {"daily": true, "at": "02:00"}, "jitter": "2h"}},
  "weekly": {"rotation": {
    "schedule": {"weekly": "sunday", "at": "23:30", "timezone": "Europe/Berlin"},
    "blackout": [
      {"days": ["mon", "Tuesday"], "from": "08:00", "to": "18:00", "timezone": "America/New_York"},
      {"start": "2026-12-20", "end": "2027-01-02 12:00", "timezone": "Europe/Berlin"}
    ]
  }},
  "nested": {"rotation": {
    "any": {
      "all": [
        {"max_age": "30d", "schedule": {"weekly": ["sat", "sun"], "at": "04:00"}},
        {"max_age": "7d", "max_uses": 500}
      ],
      "schedule": [
        {"monthly": "last", "at": "00:00"},
        {"cron": "0 2 13 * *", "timezone": "Asia/Kathmandu"}
      ]
    },
    "jitter": "30m",
    "blackout": {"from": "22:00", "to": "06:00"}
  }},
  "monthly": {"rotation": {"schedule": {"monthly": 30, "at": "12:00"}}},
  "none": {}
},
"scheduler": {"interval": "90s"},
"serve": {"listen": "[::1]:9000"}
}`

func TestRotation(t *testing.T) {
	inFolder(t, map[string]string{"k.hcl": rotationHCL + base, "k.json": openTop + rotationJSON})
	for _, name := range []string{"k.hcl", "k.json"} {
		file, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string][2]string{
			"age":   {"max_age", "every 1 day 12 hours"},
			"uses":  {"max_uses", "every 1,000 uses"},
			"daily": {"schedule", "every day at 02:00 UTC, up to 2 hours later"},
			"weekly": {"schedule", "every Sunday at 23:30 Europe/Berlin, but not on Monday and Tuesday from 08:00 to 18:00 America/New_York" +
				" or from 2026-12-20 to 2027-01-02 12:00 Europe/Berlin"},
			"monthly": {"schedule", "on day 30 of each month, or its last, at 12:00 UTC"},
		} {
			p := file.Key(key).Rotation
			if p.Name() != want[0] || p.Description() != want[1] {
				t.Errorf("%s: %s: %s: %q", name, key, p.Name(), p.Description())
			}
		}
		// The order of blocks is not kept in JSON.
		nested := file.Key("nested").Rotation
		for _, part := range []string{
			"(every 30 days and every Saturday and Sunday at 04:00 UTC)", "(every 7 days and every 500 uses)",
			"on the last day of each month at 00:00 UTC", `on the cron schedule "0 2 13 * *" Asia/Kathmandu`,
			" or ", ", up to 30 minutes later, but not every day from 22:00 to 06:00 of the next day UTC",
		} {
			if nested.Name() != "any" || !strings.Contains(nested.Description(), part) {
				t.Errorf("%s: %q lacks %q", name, nested.Description(), part)
			}
		}
		if file.Key("none").Rotation != nil || file.Key("unknown").Rotation != nil || file.Key("uses").HardLimit != 2000 || file.Key("age").HardLimit != 0 {
			t.Errorf("%s: %+v", name, file.Keys)
		}
		if file.Scheduler.Interval != 90*time.Second || file.Serve.Listen != "[::1]:9000" {
			t.Errorf("%s: %+v, %+v", name, file.Scheduler, file.Serve)
		}
	}
}

// TestListen: a daemon may serve a socket, or nothing.
func TestListen(t *testing.T) {
	for _, listen := range []string{"", "unix:/run/keyrotor/http.sock", "127.0.0.1:0", DefaultListen} {
		inFolder(t, map[string]string{"k.hcl": fmt.Sprintf("serve {\nlisten = %q\n}\n", listen) + base})
		if file, err := Load("k.hcl"); err != nil || file.Serve.Listen != listen {
			t.Errorf("%q: %+v, %v", listen, file, err)
		}
	}
}

// inRotation puts lines into the rotation block of a key, where they begin on line 3.
func inRotation(lines string) string { return "key \"a\" {\nrotation {\n" + lines + "\n}\n}" }

// badRotation is refused, as badHCL is.
var badRotation = []struct{ name, text, want string }{
	{
		"no policy", inRotation(""),
		`k.hcl:2:1: rotation in key "a" holds no policy; add max_age, max_uses, schedule, any or all`,
	},
	{
		"a jitter of nothing", inRotation(`jitter = "1h"`),
		`k.hcl:2:1: rotation in key "a" holds no policy; add max_age, max_uses, schedule, any or all`,
	},
	{
		"side by side", inRotation("max_age = \"90d\"\nschedule {\ndaily = true\nat = \"02:00\"\n}\nmax_uses = 5"),
		`k.hcl:2:1: rotation in key "a" has 3 policies side by side: max_age, max_uses, schedule; put them into any { } to rotate when one of them is due, or into all { } to rotate when all are`,
	},
	{
		"any beside all", inRotation("any {\nmax_age = \"90d\"\n}\nall {\nmax_uses = 5\n}"),
		`k.hcl:2:1: rotation in key "a" has 2 policies side by side: any, all; put them into any { } to rotate when one of them is due, or into all { } to rotate when all are`,
	},
	{
		"empty any", inRotation("any {\n}"),
		`k.hcl:3:1: any in rotation in key "a" holds no policy; add max_age, max_uses, schedule, any or all`,
	},
	{
		"empty all in any", inRotation("any {\nmax_age = \"1d\"\nall {\n}\n}"),
		`k.hcl:5:1: all in any in rotation in key "a" holds no policy; add max_age, max_uses, schedule, any or all`,
	},
	{
		"twice", "key \"a\" {\nrotation {\nmax_age = \"1d\"\n}\nrotation {\nmax_age = \"1d\"\n}\n}",
		`k.hcl:5:1: block "rotation" in key "a" stands twice; the first is at k.hcl:2:1`,
	},
	{
		"unknown policy", inRotation(`max_ages = "90d"`),
		`k.hcl:3:1: unknown attribute "max_ages" in rotation in key "a"; did you mean "max_age"?`,
	},
	{
		"jitter inside any", inRotation("any {\nmax_age = \"1d\"\njitter = \"1h\"\n}"),
		`k.hcl:5:1: unknown attribute "jitter" in any in rotation in key "a"; known here: "max_age", "max_uses", "schedule", "any", "all"`,
	},
	{
		"age", inRotation(`max_age = "3 months"`),
		`k.hcl:3:11: attribute "max_age" in rotation in key "a": "3 months" has an unknown unit: write whole weeks, days, hours, minutes or seconds, such as "90d", "12w" or "1d12h"`,
	},
	{
		"age from outside", inRotation(`max_age = env("PLANTED")`),
		`k.hcl:3:11: attribute "max_age" in rotation in key "a": what env() or file() answered does not fit here`,
	},
	{
		"age as a number", inRotation(`max_age = 90`),
		`k.hcl:3:11: attribute "max_age" in rotation in key "a": must be a string, not a number`,
	},
	{
		"uses", inRotation(`max_uses = 0`),
		`k.hcl:3:12: attribute "max_uses" in rotation in key "a": must be above zero`,
	},
	{
		"uses above half of the hard limit", "key \"a\" {\nhard_limit = 1000\nrotation {\nmax_uses = 501\n}\n}",
		`k.hcl:4:12: attribute "max_uses" in rotation in key "a": is above 500, half of the key's hard limit, at which every key is rotated anyway`,
	},
	{
		"uses above half of the usual hard limit", inRotation("all {\nmax_uses = 2147483649\n}"),
		`k.hcl:4:12: attribute "max_uses" in all in rotation in key "a": is above 2147483648, half of the key's hard limit, at which every key is rotated anyway`,
	},
	{
		"hard limit", "key \"a\" {\nhard_limit = 4294967297\n}",
		`k.hcl:2:14: attribute "hard_limit" in key "a": must be from 1 to 4294967296 uses`,
	},
	{
		"hard limit of none", "key \"a\" {\nhard_limit = 0\n}",
		`k.hcl:2:14: attribute "hard_limit" in key "a": must be from 1 to 4294967296 uses`,
	},
	{
		"a schedule of none", inRotation("schedule {\nat = \"02:00\"\n}"),
		`k.hcl:3:1: schedule in rotation in key "a" has none of them; set exactly one of daily, weekly, monthly, cron`,
	},
	{
		"a schedule of two", inRotation("schedule {\nat = \"02:00\"\nmonthly = 1\nweekly = \"mon\"\n}"),
		`k.hcl:3:1: schedule in rotation in key "a" has weekly, monthly; set exactly one of daily, weekly, monthly, cron`,
	},
	{
		"no time", inRotation("schedule {\nmonthly = 1\n}"),
		`k.hcl:3:1: missing attribute "at" in schedule in rotation in key "a"; the time of day, such as "02:00"`,
	},
	{
		"a time beside cron", inRotation("schedule {\ncron = \"0 2 * * *\"\nat = \"02:00\"\n}"),
		`k.hcl:5:1: attribute "at" in schedule in rotation in key "a" beside "cron"; leave it out: the cron expression has the time`,
	},
	{
		"bad time and zone", inRotation("schedule {\ndaily = true\nat = \"2:00\"\ntimezone = \"Mars/Olympus\"\n}"),
		`k.hcl:5:6: attribute "at" in schedule in rotation in key "a": the time of day "2:00" is not one: write hours and minutes from 00:00 to 23:59, such as "02:00"
k.hcl:6:12: attribute "timezone" in schedule in rotation in key "a": unknown time zone "Mars/Olympus": write a name of the IANA database, such as "UTC" or "Europe/Berlin"`,
	},
	{
		"the machine's zone", inRotation("schedule {\ndaily = true\nat = \"02:00\"\ntimezone = \"Local\"\n}"),
		`k.hcl:6:12: attribute "timezone" in schedule in rotation in key "a": unknown time zone "Local": write a name of the IANA database, such as "UTC" or "Europe/Berlin"`,
	},
	{
		"not daily", inRotation("schedule {\ndaily = false\nat = \"02:00\"\n}"),
		`k.hcl:4:9: attribute "daily" in schedule in rotation in key "a": must be true, if it is there`,
	},
	{
		"daily what", inRotation("schedule {\ndaily = \"yes\"\nat = \"02:00\"\n}"),
		`k.hcl:4:9: attribute "daily" in schedule in rotation in key "a": must be true or false, not a string`,
	},
	{
		"no such day", inRotation("schedule {\nweekly = [\"mon\", \"tues\"]\nat = \"02:00\"\n}"),
		`k.hcl:4:18: attribute "weekly" in schedule in rotation in key "a": "tues" is no day of the week: write "monday" or "mon" and so on`,
	},
	{
		"no day", inRotation("schedule {\nweekly = []\nat = \"02:00\"\n}"),
		`k.hcl:4:10: attribute "weekly" in schedule in rotation in key "a": must be a day of the week, such as "sunday", or a list of them`,
	},
	{
		"a day twice", inRotation("schedule {\nweekly = [\"mon\", \"monday\"]\nat = \"02:00\"\n}"),
		`k.hcl:4:10: attribute "weekly" in schedule in rotation in key "a": Monday is named twice`,
	},
	{
		"no day of the month", inRotation("schedule {\nmonthly = 32\nat = \"02:00\"\n}"),
		`k.hcl:4:11: attribute "monthly" in schedule in rotation in key "a": there is no day 32 of the month: 1 to 31 are possible, and 31 is always the last`,
	},
	{
		"another word for the day", inRotation("schedule {\nmonthly = \"first\"\nat = \"02:00\"\n}"),
		`k.hcl:4:11: attribute "monthly" in schedule in rotation in key "a": must be a day of the month, from 1 to 31, or "last"`,
	},
	{
		"cron that never fires", inRotation("schedule {\ncron = \"0 0 30 2 *\"\n}"),
		`k.hcl:4:8: attribute "cron" in schedule in rotation in key "a": the cron expression "0 0 30 2 *" never fires: no month has that day`,
	},
	{
		"cron from outside", inRotation("schedule {\ncron = env(\"PLANTED\")\n}"),
		`k.hcl:4:8: attribute "cron" in schedule in rotation in key "a": what env() or file() answered does not fit here`,
	},
	{
		"jitter", inRotation("max_age = \"1d\"\njitter = \"-1h\""),
		`k.hcl:4:10: attribute "jitter" in rotation in key "a": "-1h" has no number where one should be: write whole weeks, days, hours, minutes or seconds, such as "90d", "12w" or "1d12h"`,
	},
	{
		"too much jitter", inRotation("schedule {\ndaily = true\nat = \"02:00\"\n}\njitter = \"2d\""),
		`k.hcl:7:10: attribute "jitter" in rotation in key "a": a jitter of 2 days is longer than the 1 day that can lie between two rotations every day at 02:00 UTC`,
	},
	{
		"blackout of nothing", inRotation("max_age = \"1d\"\nblackout {\n}"),
		`k.hcl:4:1: blackout in rotation in key "a" says nothing; set from and to, or start and end`,
	},
	{
		"blackout with an end only", inRotation("max_age = \"1d\"\nblackout {\nto = \"02:00\"\n}\nblackout {\nstart = \"2026-12-20\"\n}"),
		`k.hcl:4:1: missing attribute "from" in blackout in rotation in key "a"
k.hcl:7:1: missing attribute "end" in blackout in rotation in key "a"`,
	},
	{
		"blackout of two kinds", inRotation("max_age = \"1d\"\nblackout {\nfrom = \"02:00\"\nend = \"2026-12-20\"\n}"),
		`k.hcl:4:1: blackout in rotation in key "a" has both dates and times of the day; write two blackout blocks`,
	},
	{
		"blackout backwards", inRotation("max_age = \"1d\"\nblackout {\nstart = \"2026-12-20\"\nend = \"2026-12-19\"\n}"),
		`k.hcl:6:7: attribute "end" in blackout in rotation in key "a": a window from 2026-12-20 to 2026-12-19 ends before it begins`,
	},
	{
		"blackout on no date", inRotation("max_age = \"1d\"\nblackout {\nstart = \"2026-02-30\"\nend = \"2026-12-19 8:00\"\n}"),
		`k.hcl:5:9: attribute "start" in blackout in rotation in key "a": the date "2026-02-30" is not one: write "2026-12-20" or "2026-12-20 18:00"
k.hcl:6:7: attribute "end" in blackout in rotation in key "a": the date "2026-12-19 8:00" is not one: write "2026-12-20" or "2026-12-20 18:00"`,
	},
	{
		"blackout on no day", inRotation("max_age = \"1d\"\nblackout {\ndays = []\nfrom = \"01:00\"\nto = \"02:00\"\n}"),
		`k.hcl:5:8: attribute "days" in blackout in rotation in key "a": must be a day of the week, such as "sunday", or a list of them`,
	},
	{
		"blackout at all times", inRotation("max_age = \"1d\"\nblackout {\nfrom = \"06:00\"\nto = \"18:00\"\n}\nblackout {\nfrom = \"18:00\"\nto = \"06:00\"\n}"),
		`k.hcl:4:1: the blackout windows leave no time at all in rotation in key "a"`,
	},
}

// badServe is refused, as badHCL is.
var badServe = []struct{ name, text, want string }{
	{"interval", "scheduler {\ninterval = \"a while\"\n}", `k.hcl:2:12: attribute "interval" in scheduler: must be a duration such as "90s" or "1h30m"`},
	{"short interval", "scheduler {\ninterval = \"999ms\"\n}", `k.hcl:2:12: attribute "interval" in scheduler: must be from 1s to 1h0m0s`},
	{"long interval", "scheduler {\ninterval = \"61m\"\n}", `k.hcl:2:12: attribute "interval" in scheduler: must be from 1s to 1h0m0s`},
	{"scheduler twice", "scheduler {\n}\nscheduler {\n}", `k.hcl:3:1: block "scheduler" stands twice; the first is at k.hcl:1:1`},
	{"serve twice", "serve {\n}\nserve {\n}", `k.hcl:3:1: block "serve" stands twice; the first is at k.hcl:1:1`},
	{"no port", "serve {\nlisten = \"localhost\"\n}", `k.hcl:2:10: attribute "listen" in serve: must be an address and a port, such as "127.0.0.1:9187" or "[::1]:9187"`},
	{"no whole path", "serve {\nlisten = \"unix:http.sock\"\n}", `k.hcl:2:10: attribute "listen" in serve: must name a socket by its whole path, such as "unix:/run/keyrotor/http.sock"`},
	{"no address", "serve {\nlisten = \":9187\"\n}", `k.hcl:2:10: attribute "listen" in serve: names no address: write "127.0.0.1:9187" for this machine alone, "0.0.0.0:9187" for all that reach it`},
	{"a port too high", "serve {\nlisten = \"localhost:65536\"\n}", `k.hcl:2:10: attribute "listen" in serve: has no port from 0 to 65535; 0 is any that is free`},
	{"a named port", "serve {\nlisten = \"localhost:http\"\n}", `k.hcl:2:10: attribute "listen" in serve: has no port from 0 to 65535; 0 is any that is free`},
}
