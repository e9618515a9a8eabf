package cli

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

func TestSchemaText(t *testing.T) {
	schema := provider.Schema{
		Doc: "Wraps in the cloud.",
		Attributes: []provider.Attribute{
			{Name: "address", Type: provider.String, Required: true, Doc: "Where it is."},
			{Name: "retries", Type: provider.Int, Default: int64(3)},
			{Name: "tls", Type: provider.Bool, Default: true, Deprecated: "it is always on."},
			{Name: "hosts", Type: provider.StringList, Default: []string{"a", "b"}},
			{Name: "tags", Type: provider.StringMap},
			{Name: "labels", Type: provider.StringMap, Default: map[string]string{"team": "a b", "env": "prod"}},
			{Name: "patience", Type: provider.Duration},
			{Name: "token", Type: provider.String, Sensitive: true, Default: "planted"},
		},
		Blocks: []provider.BlockSchema{
			{Type: "mirror", Required: true, Body: provider.Schema{
				Doc:        "Where history goes.",
				Attributes: []provider.Attribute{{Name: "mount", Type: provider.Path, Required: true}},
			}},
			{Type: "auth", Labels: []string{"approle", "token"}, Repeated: true, Body: provider.Schema{
				Attributes: []provider.Attribute{{Name: "role_id", Type: provider.String, Required: true}},
			}},
			{Type: "site", Labels: []string{"eu"}, Required: true, Body: provider.Schema{
				Attributes: []provider.Attribute{{Name: "zone", Type: provider.String, Required: true}},
			}},
			{Type: "site", Labels: []string{"us"}, Required: true},
		},
	}
	const want = `# Wraps in the cloud.
provider "cloud" "NAME" {
  # Where it is.
  address = "…" # string, required

  # retries = 3 # int

  # Deprecated: it is always on.
  # tls = true # bool

  # hosts = ["a", "b"] # string-list

  # tags = { NAME = "…" } # string-map

  # labels = { "env" = "prod", "team" = "a b" } # string-map

  # patience = "30s" # duration

  # token = "…" # string, sensitive

  # Where history goes.
  mirror {
    mount = "…" # path, required
  }

  # The label is one of approle, token.
  # It may be repeated.
  # auth "approle" {
    # role_id = "…" # string, required
  # }

  site "eu" {
    zone = "…" # string, required
  }

  # site "us" {
  # }
}
`
	if got := schemaText("cloud", withoutSecrets(schema)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if schema.Attributes[7].Default != "planted" {
		t.Error("the schema itself was changed")
	}
}

// TestSchemaTextIsHarmless: what a plugin says of itself neither steers the terminal
// nor breaks out of its comment.
func TestSchemaTextIsHarmless(t *testing.T) {
	got := schemaText("cloud", provider.Schema{
		Doc:        "Wraps\x1b[2J\rin the cloud.",
		Attributes: []provider.Attribute{{Name: "a", Type: provider.Bool, Deprecated: "see\x07b"}},
		Blocks:     []provider.BlockSchema{{Type: "auth", Labels: []string{"x", "y\nz = 1"}}},
	})
	const want = `# Wraps\ufffd[2J in the cloud.
provider "cloud" "NAME" {
  # Deprecated: see\ufffdb
  # a = false # bool

  # The label is one of x, y
  # z = 1.
  # auth "x" {
  # }
}
`
	if want := strings.ReplaceAll(want, `\ufffd`, "\ufffd"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMoment(t *testing.T) {
	for text, want := range map[string]string{
		"2026-03-01T12:00:00Z":      "2026-03-01T12:00:00Z",
		"2026-03-01T12:00:00+02:00": "2026-03-01T10:00:00Z",
		"2026-03-01":                "2026-03-01T00:00:00Z",
	} {
		var m moment
		if err := m.Set(text); err != nil || m.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v", text, m, err)
		}
	}
	for text, want := range map[string]time.Duration{"90m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "0d": 0, "1h30m": 90 * time.Minute} {
		if got, err := parseSpan(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1h", "-7d", "1.5d", "70000d", "tomorrow", "2026-13-01", "2026-03-01 12:00"} {
		var m moment
		if err := m.Set(text); err == nil || !m.IsZero() {
			t.Errorf("%q was taken for %v", text, m)
		}
	}
}

func FuzzMoment(f *testing.F) {
	for _, seed := range []string{"", "7d", "36h", "2026-03-01", "2026-03-01T12:00:00Z", "9999999h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var m moment
		if err := m.Set(text); err != nil && !m.IsZero() {
			t.Errorf("%q is refused and gives %v", text, m)
		}
	})
}

func TestSeen(t *testing.T) {
	seen := seenFlag{}
	for _, text := range []string{"payments=12", "payments=3", "orders=v4", "a.b-c=4294967295"} {
		if err := seen.Set(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if want := (seenFlag{"payments": 12, "orders": 4, "a.b-c": 4294967295}); !maps.Equal(seen, want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
	for _, text := range []string{"", "payments", "payments=", "payments=0", "payments=-1", "payments=4294967296", "payments=x", "payments=vv1", "Payments=1", "=1", "payments=1=2", "payments= 1"} {
		if err := seen.Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzSeen(f *testing.F) {
	for _, seed := range []string{"", "payments=12", "a=v1", "a=4294967296"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		seen := seenFlag{}
		err := seen.Set(text)
		if (err == nil) != (len(seen) == 1) {
			t.Errorf("%q: %v, %v", text, seen, err)
		}
		for key, n := range seen {
			if keyring.CheckName(key) != nil || n == 0 {
				t.Errorf("%q was taken for version %d of key %q", text, n, key)
			}
		}
	})
}

func TestEventRow(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		event history.Event
		want  string
	}{
		{
			history.Event{Seq: 3, Time: at, Type: history.Rotation, Key: "k", Version: 2, PreviousVersion: 1, Reason: "manual", Actor: "a@b"},
			"3|2026-03-01T12:00:00Z|rotation|k|v1 to v2|manual|a@b|",
		},
		{
			history.Event{Seq: 4, Time: at, Type: history.RotationFailed, Key: "k", PreviousVersion: 3, ErrorCode: "DENIED", Note: "n", Actor: "a@b"},
			"4|2026-03-01T12:00:00Z|rotation_failed|k|v3|-|a@b|error DENIED; n",
		},
		{
			history.Event{Seq: 5, Time: at, Type: history.Restored, Actor: "a@b"},
			"5|2026-03-01T12:00:00Z|restored|-|-|-|a@b|",
		},
	} {
		if got := strings.Join(eventRow(c.event), "|"); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestShellQuoted(t *testing.T) {
	for in, want := range map[string]string{
		"/a/b-c_d.hcl": "/a/b-c_d.hcl",
		"":             "''",
		"a b":          "'a b'",
		"it's":         `'it'\''s'`,
		"$HOME":        "'$HOME'",
	} {
		if got := shellQuoted(in); got != want {
			t.Errorf("shellQuoted(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestAsksForJSON(t *testing.T) {
	for line, want := range map[string]bool{
		"key list -o json":        true,
		"key list -ojson":         true,
		"key --output=json x":     true,
		"key --output json":       true,
		"key list":                false,
		"key list -o text":        false,
		"key list -o":             false,
		"key list -- -o json":     false,
		"key create json -o text": false,
	} {
		if got := asksForJSON(strings.Fields(line)); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

func TestEventsAboutProviders(t *testing.T) {
	for want, e := range map[string]history.Event{
		"provider aws, error UNAVAILABLE, works until 2026-03-01T10:00:00Z": {
			Type: history.Degraded, Provider: "aws", ErrorCode: "UNAVAILABLE", Details: map[string]string{"until": "2026-03-01T10:00:00Z"},
		},
		"provider aws, access to version 7 of its key, error DENIED": {
			Type: history.Degraded, Provider: "aws", ErrorCode: "DENIED", KEKVersion: "7", Details: map[string]string{"revoked": "true"},
		},
		"provider aws, access":              {Type: history.Recovered, Provider: "aws", Details: map[string]string{"revoked": "true"}},
		"provider aws, not needed any more": {Type: history.Recovered, Provider: "aws", Details: map[string]string{"unused": "true"}},
		"provider aws":                      {Type: history.Recovered, Provider: "aws"},
	} {
		if got := what(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAhead(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	unless := start.AddDate(1, 0, 0)
	for text, want := range map[string]time.Time{
		"":                          unless,
		"2027-03-01T12:00:00+02:00": time.Date(2027, 3, 1, 10, 0, 0, 0, time.UTC),
		"2027-03-01":                time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC),
		"36h":                       start.Add(36 * time.Hour),
		"2w":                        start.AddDate(0, 0, 14),
	} {
		var f ahead
		if text != "" {
			if err := f.Set(text); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
		if got := f.after(start, unless); !got.Equal(want) || f.String() != text {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"soon", "-1h", "0d", "2026-02-30", "1y"} {
		var f ahead
		if err := f.Set(text); err == nil {
			t.Errorf("%q is %s", text, f.after(start, unless))
		}
	}
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * time.Second:                     "1 minute 30 seconds",
		time.Hour + 90*time.Second:           "1 hour 1 minute",
		47*time.Hour + 59*time.Minute + 59e9: "1 day 23 hours 59 minutes",
		100*24*time.Hour + 59*time.Minute:    "100 days",
		1000*24*time.Hour + 119*time.Minute:  "1,000 days 1 hour",
	} {
		if got := roughly(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
