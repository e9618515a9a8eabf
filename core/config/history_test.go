package config

import (
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	const day = 24 * time.Hour
	t.Setenv("KEYROTOR_TEST_RETENTION", "2d")
	for text, want := range map[string]History{
		``:             {Persist: true, MaxEvents: 1000},
		"history {\n}": {Persist: true, MaxEvents: 1000},
		"history {\npersist = true\nretention = \"400d\"\n}":                {Persist: true, MaxEvents: 1000, Retention: 400 * day},
		"history {\npersist = false\n}":                                     {MaxEvents: 1000},
		"history {\nmax_events = 1\nretention = \"1d\"\n}":                  {Persist: true, MaxEvents: 1, Retention: day},
		"history {\nmax_events = 100000\nretention = \"36525d\"\n}":         {Persist: true, MaxEvents: 100000, Retention: 36525 * day},
		"history {\nretention = env(\"KEYROTOR_TEST_RETENTION\")\n}":        {Persist: true, MaxEvents: 1000, Retention: 2 * day},
		"history {\npersist = null\nmax_events = null\nretention = null\n}": {Persist: true, MaxEvents: 1000},
	} {
		inFolder(t, map[string]string{"k.hcl": text + base})
		file, err := Load("k.hcl")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if file.History != want {
			t.Errorf("%q: %+v, want %+v", text, file.History, want)
		}
	}
	inFolder(t, map[string]string{"k.json": openTop + `"history": {"persist": true, "max_events": 5, "retention": "52w"}}`})
	file, err := Load("k.json")
	if err != nil {
		t.Fatal(err)
	}
	if want := (History{Persist: true, MaxEvents: 5, Retention: 364 * day}); file.History != want {
		t.Errorf("in JSON: %+v, want %+v", file.History, want)
	}
}

// badHistory are files with a history block that the loader refuses; base follows each.
var badHistory = []struct{ name, text, want string }{
	{"history twice", `history {
}
history {
}`, `k.hcl:3:1: block "history" stands twice; the first is at k.hcl:1:1`},
	{"history with a label", `history "sqlite" {
}`, `k.hcl:1:9: extraneous label for history; no labels are expected for history blocks`},
	{"history path", `history {
  path = "history.db"
}`, `k.hcl:2:3: attribute "path" in history: the history has no file of its own: an event is committed together with what it tells of; leave it out; the file of both is that of storage "sqlite" { path = … }`},
	{"history to come", `history {
  signing_key  = "x"
  trusted_keys = ["y"]
}`, `k.hcl:2:3: attribute "signing_key" in history is not supported by this build yet; leave it out
k.hcl:3:3: attribute "trusted_keys" in history is not supported by this build yet; leave it out`},
	{"history typo", `history {
  max_event = 5
}`, `k.hcl:2:3: unknown attribute "max_event" in history; did you mean "max_events"?`},
	{"no event in memory", `history {
  max_events = 0
}`, `k.hcl:2:16: attribute "max_events" in history: must be from 1 to 100000`},
	{"too many events in memory", `history {
  max_events = 100001
}`, `k.hcl:2:16: attribute "max_events" in history: must be from 1 to 100000`},
	{"short retention", `history {
  retention = "23h"
}`, `k.hcl:2:15: attribute "retention" in history: must be from 1 day to 36,525 days, not "23h": write it like "90s", "1h30m" or "1d"`},
	{"no retention", `history {
  retention = "0"
}`, `k.hcl:2:15: attribute "retention" in history: must be from 1 day to 36,525 days, not "0": write it like "90s", "1h30m" or "1d"`},
	{"retention of nothing", `history {
  persist   = false
  retention = "30d"
}`, `k.hcl:3:3: attribute "retention" in history beside persist = false; leave one of them out: without persistence nothing is kept that can go`},
	{"persist of another type", `history {
  persist = "no"
}`, `k.hcl:2:13: attribute "persist" in history: must be true or false, not a string`},
}
