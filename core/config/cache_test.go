package config

import (
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/outage"
)

func TestCache(t *testing.T) {
	const day = 24 * time.Hour
	t.Setenv("KEYROTOR_TEST_TTL", "2m")
	for name, want := range map[string]*outage.Budget{
		``:                                             nil,
		`cache {` + "\n}":                              {TTL: time.Hour, Grace: time.Hour},
		"cache {\nttl = \"90s\"\n}":                    {TTL: 90 * time.Second, Grace: time.Hour},
		"cache {\ngrace = \"0s\"\n}":                   {TTL: time.Hour},
		"cache {\ngrace = \"0\"\n}":                    {TTL: time.Hour},
		"cache {\ngrace = \"0h\"\n}":                   {TTL: time.Hour},
		"cache {\ngrace = null\n}":                     {TTL: time.Hour, Grace: time.Hour},
		"cache {\nttl = \"1s\"\n}":                     {TTL: time.Second, Grace: time.Hour},
		"cache {\nttl = \"7d\"\n}":                     {TTL: 7 * day, Grace: time.Hour},
		"cache {\ngrace = \"30d\"\n}":                  {TTL: time.Hour, Grace: 30 * day},
		"cache {\ngrace = \"1d12h30m\"\n}":             {TTL: time.Hour, Grace: day + 12*time.Hour + 30*time.Minute},
		"cache {\nttl = \"1h30m\"\n}":                  {TTL: 90 * time.Minute, Grace: time.Hour},
		"cache {\nttl = env(\"KEYROTOR_TEST_TTL\")\n}": {TTL: 2 * time.Minute, Grace: time.Hour},
	} {
		inFolder(t, map[string]string{"k.hcl": "key \"a\" {\n" + name + "\n}" + base})
		file, err := Load("k.hcl")
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		got := file.Keys[0].Cache
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
		if want == nil {
			want = &outage.Budget{TTL: time.Hour, Grace: time.Hour}
		}
		if got := file.Budget("a"); got != *want {
			t.Errorf("%q: %+v", name, got)
		}
		if got := file.Budget("b"); got != outage.DefaultBudget() {
			t.Errorf("a key without a block: %+v", got)
		}
	}
}

func TestCacheJSON(t *testing.T) {
	inFolder(t, map[string]string{"k.json": openTop + `"key": {"a": {"cache": {"ttl": "1d", "grace": "2h"}}, "b": {}}}`})
	file, err := Load("k.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := file.Budget("a"); got != (outage.Budget{TTL: 24 * time.Hour, Grace: 2 * time.Hour}) {
		t.Errorf("%+v", got)
	}
	if file.Keys[1].Cache != nil {
		t.Error("a key without a block has one")
	}
}

func TestCacheRefuses(t *testing.T) {
	const (
		ttl     = `attribute "ttl" in cache in key "a": must be from 1 second to 7 days, not `
		grace   = `attribute "grace" in cache in key "a": must be from 0 seconds to 30 days, not `
		hint    = `: write it like "90s", "1h30m" or "1d"`
		outside = `attribute "ttl" in cache in key "a": what env() or file() answered does not fit here`
	)
	t.Setenv("PLANTED", planted)
	for text, want := range map[string]string{
		"  ttl = \"999ms\"":              "k.hcl:3:9: " + ttl + `"999ms"` + hint,
		"  ttl = \"169h\"":               "k.hcl:3:9: " + ttl + `"169h"` + hint,
		"  ttl = \"8d\"":                 "k.hcl:3:9: " + ttl + `"8d"` + hint,
		"  ttl = \"6d25h\"":              "k.hcl:3:9: " + ttl + `"6d25h"` + hint,
		"  ttl = \"0\"":                  "k.hcl:3:9: " + ttl + `"0"` + hint,
		"  ttl = \"-1h\"":                "k.hcl:3:9: " + ttl + `"-1h"` + hint,
		"  ttl = \"1\"":                  "k.hcl:3:9: " + ttl + `"1"` + hint,
		"  ttl = \"\"":                   "k.hcl:3:9: " + ttl + `""` + hint,
		"  ttl = \"d\"":                  "k.hcl:3:9: " + ttl + `"d"` + hint,
		"  ttl = \"1.5d\"":               "k.hcl:3:9: " + ttl + `"1.5d"` + hint,
		"  ttl = \"12h1d\"":              "k.hcl:3:9: " + ttl + `"12h1d"` + hint,
		"  ttl = \"9999999d\"":           "k.hcl:3:9: " + ttl + `"9999999d"` + hint,
		"  ttl = 3600":                   `k.hcl:3:9: attribute "ttl" in cache in key "a": must be a string, not a number`,
		"  ttl = env(\"PLANTED\")":       "k.hcl:3:9: " + outside,
		"  grace = \"-1s\"":              "k.hcl:3:11: " + grace + `"-1s"` + hint,
		"  grace = \"1d-1s\"":            "k.hcl:3:11: " + grace + `"1d-1s"` + hint,
		"  grace = \"31d\"":              "k.hcl:3:11: " + grace + `"31d"` + hint,
		"  gracee = \"1h\"":              `k.hcl:3:3: unknown attribute "gracee" in cache in key "a"; did you mean "grace"?`,
		"  ttl = \"x\"\n  grace = \"y\"": "k.hcl:3:9: " + ttl + `"x"` + hint + "\nk.hcl:4:11: " + grace + `"y"` + hint,
		"}\ncache {\n  ttl = \"x\"":      `k.hcl:4:1: block "cache" in key "a" stands twice; the first is at k.hcl:2:1`,
	} {
		inFolder(t, map[string]string{"k.hcl": "key \"a\" {\ncache {\n" + text + "\n}\n}" + base})
		if got := loadError(t, "k.hcl"); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		`{"ttl": "1y"}`: `k.json:2:32: ` + ttl + `"1y"` + hint,
		`"1h"`:          `k.json:2:24: incorrect JSON value type in key "a"; either a JSON object or a JSON array is required, representing the contents of one or more "cache" blocks`,
	} {
		inFolder(t, map[string]string{"k.json": openTop + "\n" + `"key": {"a": {"cache": ` + text + `}}}`})
		if got := loadError(t, "k.json"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", text, got, want)
		}
	}
}
