package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/notify"
)

const notifyHCL = `
notify "webhook" "ops" {
  url        = "https://hooks.example.com/keyrotor?team=a"
  secret     = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
  types      = ["key_rotated", "rotation_failed"]
  keys       = ["payments", "shop-*", "*"]
  headers    = {
    Authorization = "Bearer hunter2-pl4nted"
    "X-Team"      = "shop"
  }
  ca_file    = "ca.pem"
  timeout    = "5s"
  give_up    = "3d"
}

notify "command" "pager" {
  command     = ["/usr/bin/page", "--now"]
  environment = ["HOME"]
  timeout     = "30s"
}

notify "log" "audit" {
  path = "notices.jsonl"
}

notify "log" "journal" {
  give_up = null
}

scheduler {
  due_soon = "2d"
}
`

const notifyJSON = `"notify": {
  "webhook": {"ops": {"url": "http://127.0.0.1:8080/", "secret": "0123456789012345678901234567890", "headers": {"X-Token": "x"}}},
  "log": {"audit": {"path": "/var/log/notices", "types": ["key_rotated"]}}}}`

func TestNotify(t *testing.T) {
	dir := inFolder(t, map[string]string{"k.hcl": notifyHCL + base})
	file, err := Load("k.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if file.Scheduler.DueSoon != 48*time.Hour || file.Scheduler.Interval != time.Minute {
		t.Errorf("the scheduler: %+v", file.Scheduler)
	}
	if len(file.Notify) != 4 {
		t.Fatalf("%d blocks", len(file.Notify))
	}
	hook, command, audit, journal := file.Notify[0], file.Notify[1], file.Notify[2], file.Notify[3]
	if hook.Type != NotifyWebhook || hook.Name != "ops" || hook.URL != "https://hooks.example.com/keyrotor?team=a" || hook.AllowHTTP ||
		string(hook.Secret.Reveal()) != "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" ||
		!slices.Equal(hook.Types, []notify.Type{"key_rotated", "rotation_failed"}) || !slices.Equal(hook.Keys, []string{"payments", "shop-*", "*"}) ||
		len(hook.Headers) != 2 || string(hook.Headers["Authorization"].Reveal()) != "Bearer hunter2-pl4nted" || string(hook.Headers["X-Team"].Reveal()) != "shop" ||
		hook.CAFile != dir+"/ca.pem" || hook.Timeout != 5*time.Second || hook.GiveUp != 72*time.Hour {
		t.Error("the webhook is not what the file says")
	}
	if command.Type != NotifyCommand || !slices.Equal(command.Command, []string{"/usr/bin/page", "--now"}) ||
		!slices.Equal(command.Env, []string{"HOME"}) || command.Timeout != 30*time.Second || command.Types != nil || command.Keys != nil {
		t.Error("the command is not what the file says")
	}
	if audit.Type != NotifyLog || audit.Path != dir+"/notices.jsonl" || journal.Path != "" || journal.GiveUp != 0 {
		t.Error("the logs are not what the file says")
	}
	assertNoSecret(t, "File", file)
	assertNoSecret(t, "Notify", hook)
	assertNoSecret(t, "*Notify", &hook)
	assertNoSecret(t, "unexported field", struct{ n Notify }{hook})
}

func TestNotifyJSON(t *testing.T) {
	inFolder(t, map[string]string{"k.json": openTop + notifyJSON})
	file, err := Load("k.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Notify) != 2 || file.Notify[0].URL != "http://127.0.0.1:8080/" || file.Notify[1].Path != "/var/log/notices" ||
		string(file.Notify[0].Headers["X-Token"].Reveal()) != "x" {
		t.Errorf("%v", file.Notify)
	}
	var inline []string
	for _, p := range file.Inline() {
		inline = append(inline, p.String())
	}
	want := []string{
		`k.json:2:56: attribute "secret" in notify "webhook" "ops" is a secret, and stands in the config file; take it from env("NAME") or file("path")`,
		`k.json:2:113: the header "X-Token" in notify "webhook" "ops" is a secret, and stands in the config file; take it from env("NAME") or file("path")`,
	}
	if !slices.Equal(inline, want) {
		t.Errorf("got %q\nwant %q", inline, want)
	}
	if file.Scheduler.DueSoon != 24*time.Hour {
		t.Errorf("by default %s", file.Scheduler.DueSoon)
	}
}

// TestNotifyFromOutside: what env() and file() answer counts like what stands in the
// file, is in no warning, and in no error.
func TestNotifyFromOutside(t *testing.T) {
	t.Setenv("URL", "https://hooks.example.com/hunter2")
	t.Setenv("SECRET", planted+planted)
	t.Setenv("TYPE", "key_rotated")
	const good = `notify "webhook" "ops" {
  url     = env("URL")
  secret  = file("secret")
  types   = [env("TYPE")]
  headers = {
    Authorization = "Bearer ${env("SECRET")}"
  }
}
`
	files := map[string]string{"k.hcl": good + base, "secret": planted + planted + "\n"}
	inFolder(t, files)
	file, err := Load("k.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if n := file.Notify[0]; n.URL != "https://hooks.example.com/hunter2" || string(n.Secret.Reveal()) != planted+planted ||
		string(n.Headers["Authorization"].Reveal()) != "Bearer "+planted+planted {
		t.Error("what stands outside is lost")
	}
	if inline := file.Inline(); len(inline) != 0 {
		t.Errorf("%v", inline)
	}
	for _, name := range []string{"URL", "SECRET", "TYPE"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "hunter2\x01")
			if name == "SECRET" {
				files["secret"] = "hunter2"
			}
			inFolder(t, files)
			_, err := Load("k.hcl")
			if err == nil {
				t.Fatal("it is taken")
			}
			assertNoSecret(t, name, err)
		})
	}
}

var badNotify = []struct{ name, text, want string }{
	{"notify: several at once", `notify "webhook" "ops" {
  url     = "http://hooks.example.com/s3cret"
  secret  = "s3cret"
  types   = ["key_rotatd", "key_rotated", "key_rotated"]
  keys    = ["Payments", "a b"]
  timeout = "1ms"
  give_up = "1s"
  colour  = "red"
}`, `k.hcl:2:13: attribute "url" in notify "webhook" "ops": webhook to http://hooks.example.com: anybody on the way can read it: use https, or allow http for this target
k.hcl:3:13: attribute "secret" in notify "webhook" "ops": the secret has 6 bytes: it must have 24 at least: ` + "`echo whsec_$(openssl rand -base64 32)`" + ` makes one
k.hcl:4:14: attribute "types" in notify "webhook" "ops": there is no type "key_rotatd"; did you mean "key_rotated"?
k.hcl:4:43: attribute "types" in notify "webhook" "ops": names "key_rotated" twice
k.hcl:5:14: attribute "keys" in notify "webhook" "ops": "Payments" can be the name of no key; did you mean "payments"?
k.hcl:5:26: attribute "keys" in notify "webhook" "ops": "a b" can be the name of no key; ` + patternAdvice + `
k.hcl:6:13: attribute "timeout" in notify "webhook" "ops": must be from 1 second to 30 seconds, not "1ms": write it like "90s", "1h30m" or "1d"
k.hcl:7:13: attribute "give_up" in notify "webhook" "ops": must be from 1 minute to 30 days, not "1s": write it like "90s", "1h30m" or "1d"
k.hcl:8:3: unknown attribute "colour" in notify "webhook" "ops"; known here: "url", "secret", "headers", "ca_file", "allow_http", "timeout", "types", "keys", "give_up"`},
	{"notify: nothing", `notify "webhook" "ops" {
}
notify "command" "ops" {
}
notify "command" "pager" {
}
notify "mail" "M" {
}`, `k.hcl:1:1: missing attribute "secret" in notify "webhook" "ops"
k.hcl:1:1: missing attribute "url" in notify "webhook" "ops"
k.hcl:3:1: the notify name "ops" stands twice; the first is at k.hcl:1:1
k.hcl:5:1: missing attribute "command" in notify "command" "pager"
k.hcl:7:8: unknown notify "mail"; known here: "webhook", "command", "log"
k.hcl:7:15: invalid notify name "M"; use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit`},
	{"notify: typo of a type", `notify "webhok" "ops" {
}`, `k.hcl:1:8: unknown notify "webhok"; did you mean "webhook"?`},
	{"notify: empty lists", `notify "log" "l" {
  types = []
  keys  = []
  path  = ""
}`, `k.hcl:2:11: attribute "types" in notify "log" "l": is empty; leave it out for all of them
k.hcl:3:11: attribute "keys" in notify "log" "l": is empty; leave it out for all of them
k.hcl:4:11: attribute "path" in notify "log" "l": a path must not be empty or hold a NUL`},
	{"notify: urls and headers", `notify "webhook" "a" {
  url     = "https://u:s3cret@h/"
  secret  = "whsec_s3cret?"
  headers = {
    "a b"      = "s3cret"
    webhook-id = "s3cret"
    X-A        = "s3\ncret"
    x-a        = "s3cret"
  }
}
notify "webhook" "b" {
  url    = "https:///s3cret"
  secret = "whsec_czNjcmV0"
}
notify "webhook" "c" {
  url    = "ftp://h/#s3cret"
  secret = "012345678901234567890123"
}`, `k.hcl:2:13: attribute "url" in notify "webhook" "a": must hold no user and password: put them into headers
k.hcl:3:13: attribute "secret" in notify "webhook" "a": what follows whsec_ in the secret is not base64: take it over as the receiver shows it, padding included
k.hcl:5:5: attribute "headers" in notify "webhook" "a": "a b" is no name for a header
k.hcl:6:5: attribute "headers" in notify "webhook" "a": the header "webhook-id" is for the webhook itself to set: leave it out
k.hcl:7:5: attribute "headers" in notify "webhook" "a": the value of the header "X-A" has a character that none may have, such as the end of a line
k.hcl:8:5: attribute "headers" in notify "webhook" "a": the header "x-a" stands twice
k.hcl:12:12: attribute "url" in notify "webhook" "b": the URL of a webhook cannot be read: write it as https://host/path
k.hcl:13:12: attribute "secret" in notify "webhook" "b": the secret has 6 bytes: it must have 24 at least: ` + "`echo whsec_$(openssl rand -base64 32)`" + ` makes one
k.hcl:16:12: attribute "url" in notify "webhook" "c": webhook to h: "ftp" is no scheme for a webhook: use https`},
	{"notify: commands", `notify "command" "a" {
  command     = ["page"]
  environment = ["A=s3cret"]
}
notify "command" "b" {
  command = []
}
notify "command" "c" {
  command = ["/bin/page", "\u0000"]
}`, `k.hcl:2:17: attribute "command" in notify "command" "a": must name a program by its whole path: which one PATH leads to is not to be left to whoever starts keyrotor
k.hcl:3:18: attribute "environment" in notify "command" "a": not the name of a variable; names only, without a value
k.hcl:6:13: attribute "command" in notify "command" "b": names no program
k.hcl:9:13: attribute "command" in notify "command" "c": must not hold a NUL`},
	{"notify: of another type", `notify "log" "a" {
  timeout = "5s"
  give_up = 5
  keys    = "a"
}`, `k.hcl:2:3: unknown attribute "timeout" in notify "log" "a"; known here: "path", "types", "keys", "give_up"
k.hcl:3:13: attribute "give_up" in notify "log" "a": must be a string, not a number
k.hcl:4:13: attribute "keys" in notify "log" "a": must be a list of strings, not a string`},
	{"due_soon", `scheduler {
  due_soon = "91d"
}`, `k.hcl:2:14: attribute "due_soon" in scheduler: must be from 0 seconds to 90 days, not "91d": write it like "90s", "1h30m" or "1d"`},
}

func TestWebhookURL(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://h": true, "https://h:8443/p?q=1": true, "http://localhost:1/": true, "http://127.0.0.1/": true, "http://127.9.9.9/": true,
		"http://[::1]:80/": true, "http://10.0.0.1/": false, "http://localhost.example.com/": false, "http://[::2]/": false, "h": false,
		"": false, "https://": false, "https:h": false, "HTTPS://h": true, "http://\x01/": false, "unix:/s": false,
	} {
		if err := checkURL(text, false); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err := checkURL(text, true); strings.HasPrefix(text, "http://10.") && err != nil {
			t.Errorf("%q is allowed: %v", text, err)
		}
	}
}
