//go:build exhaustive

package secrets_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNotify: neither a receiver that sends back what it is sent, nor a config that is
// wrong, nor a daemon that tells for hours that it cannot deliver, shows what signs and
// authenticates.
func TestNotify(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for name, value := range map[string]string{
		"HOOK_SECRET": "pl4nted-webhook-s1gning-key-of-32-bytes",
		"HOOK_TOKEN":  "pl4nted-header-t0ken-of-the-receiver",
		"HOOK_PATH":   "T0PL4NTED/B0PATH/0f4h00k",
	} {
		s.planted[name] = []byte(value)
		s.env[name] = value
	}
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Retry-After", s.env["HOOK_TOKEN"])
		w.Header().Set("Location", req.URL.String())
		w.WriteHeader(map[bool]int{true: http.StatusFound, false: http.StatusInternalServerError}[req.URL.Query().Has("moved")])
		fmt.Fprintf(w, "%s is not %s at %s; sorry, %s%s", req.Header.Get("Authorization"), s.env["HOOK_SECRET"], req.URL, strings.Repeat(" ", 60), req.Header.Get("Authorization"))
	}))
	t.Cleanup(echo.Close)
	s.env["HOOK_URL"] = echo.URL + "/" + s.env["HOOK_PATH"]
	s.env["MOVED_URL"] = s.env["HOOK_URL"] + "?moved=1"
	s.env["AWAY_URL"] = "http://127.0.0.1:1/" + s.env["HOOK_PATH"]
	s.env["NO_URL"] = "https://shop:" + s.env["HOOK_TOKEN"] + "@hooks.example/" + s.env["HOOK_PATH"]
	block := func(name, url, secret, more string) string {
		return fmt.Sprintf("notify \"webhook\" %q {\n  url = env(%q)\n  secret = env(%q)\n  headers = {\n    Authorization = env(\"HOOK_TOKEN\")\n  }\n%s}\n", name, url, secret, more)
	}
	noisy := s.plant("noisy", "#!/bin/sh\ncat >/dev/null\necho \"$HOOK_TOKEN\" >&2\nexit 1\n")
	good := fmt.Sprintf(config, filepath.Join(built, "plugins")) +
		block("echo", "HOOK_URL", "HOOK_SECRET", "") + block("moved", "MOVED_URL", "HOOK_SECRET", "") + block("away", "AWAY_URL", "HOOK_SECRET", "") +
		fmt.Sprintf("notify \"command\" \"noisy\" {\n  command = [\"/bin/sh\", %q]\n}\nnotify \"log\" \"journal\" {\n}\n", noisy)
	s.write("keyrotor.hcl", []byte(good))
	s.both("config", "validate")
	s.text("kek", "create", "plain")
	s.text("key", "create", "payments", "--wrap-with", "plain")
	s.both("notify", "list")
	for _, target := range []string{"echo", "moved", "away", "noisy"} {
		s.fails(1, "", "notify", "test", target)
	}
	s.both("notify", "test", "journal")
	s.fails(3, "", "notify", "deliver")
	s.both("notify", "list")
	s.both("doctor")

	// What is wrong in the blocks.
	for _, c := range []struct{ url, secret, more string }{
		{"NO_URL", "HOOK_SECRET", ""},
		{"HOOK_TOKEN", "HOOK_SECRET", ""},
		{"HOOK_URL", "HOOK_URL", "  ca_file = env(\"HOOK_TOKEN\")\n"},
		{"HOOK_URL", "HOOK_SECRET", "  types = [env(\"HOOK_TOKEN\")]\n  keys = [env(\"HOOK_TOKEN\"), env(\"HOOK_PATH\")]\n  timeout = env(\"HOOK_TOKEN\")\n  give_up = env(\"HOOK_TOKEN\")\n"},
		{"HOOK_URL", "HOOK_SECRET", "  allow_http = env(\"HOOK_TOKEN\")\n"},
	} {
		s.write("keyrotor.hcl", []byte(good+block("wrong", c.url, c.secret, c.more)))
		if strings.Contains(c.more, "ca_file") {
			// A path is shown, whatever somebody takes for one.
			s.env["HOOK_TOKEN"], s.planted["unset"] = "nowhere.pem", s.planted["HOOK_TOKEN"]
		}
		s.fails(1, "", "config", "validate")
		s.fails(1, "", "notify", "list")
		s.fails(1, "", "doctor")
		s.env["HOOK_TOKEN"] = string(s.planted["HOOK_TOKEN"])
	}
	s.write("keyrotor.hcl", []byte(good))

	// A daemon.
	d := s.serve()
	defer d.kill()
	d.waits(`"msg":"ready"`, `"target":"echo"`, `"target":"away"`, `"target":"noisy"`)
	d.asks("/readyz", "/metrics", "/healthz")
	must(t, d.cmd.Process.Signal(syscall.SIGTERM))
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, d.text())
	}
	s.outputs = append(s.outputs, output{"serve", "stderr", []byte(d.text()), ""})
	if page := d.outputs[len(d.outputs)-3]; !strings.Contains(string(page.text), `keyrotor_notify_deliveries_total{outcome="failed",target="echo"}`) {
		t.Errorf("the metrics: %s", page.text)
	}
}
