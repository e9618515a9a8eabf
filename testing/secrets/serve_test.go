package secrets_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// TestServe: a daemon whose providers fail, and whose config is edited in a hurry, says
// a lot, and nothing of what it was given in confidence.
func TestServe(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.planted["password of a URL"] = []byte("pl4nted-url-p4ssw0rd")
	s.planted["password of a proxy"] = []byte("pl4nted-proxy-p4ssw0rd")
	s.env["HTTPS_PROXY"] = "http://shop:" + string(s.planted["password of a proxy"]) + "@127.0.0.1:1"
	s.holders["journal/cloud.surroundings"] = "password of a proxy" // which plugins are given
	s.text("key", "create", "payments", "--wrap-with", "sealed,cloud")
	s.text("key", "create", "orders", "--wrap-with", "cloud")
	good := fmt.Sprintf(config, filepath.Join(built, "plugins")) + `
key "payments" {
  rotation {
    max_uses = 10
  }
}
key "orders" {
  rotation {
    max_uses = 10
  }
}
`
	s.write("keyrotor.hcl", []byte(good))
	d := s.serve()
	defer d.kill()
	d.waits(`"msg":"ready"`)
	s.write("journal/cloud.fault", []byte("GenerateDataKey denied"))
	s.use("orders", "payments")
	d.waits(`"msg":"a rotation failed`, `token [redacted] is not allowed`)
	d.asks("/readyz", "/metrics", "/healthz")

	url := "https://shop:" + string(s.planted["password of a URL"]) + "@127.0.0.1:1"
	for _, c := range []struct {
		fault, more, says string
		taken             bool
	}{
		{"Check noise", "", `token [redacted] in use`, true},
		{"Check denied", "", `token [redacted] is not allowed`, true},
		{"Configure config", "", `no instance for token [redacted]`, false},
		{"Check stray-panic", "", `boom [redacted]`, false},
		{"", "provider \"vault-transit\" \"url\" {\n  address = \"" + url + "\"\n  key = \"k\"\n  auth \"token\" {\n    token = env(\"CLOUD_TOKEN\")\n  }\n}\n", `it holds a user or a password`, false},
		{"", "provider \"vault-transit\" \"proxied\" {\n  address = \"https://vault.example\"\n  key = \"k\"\n  auth \"token\" {\n    token = env(\"CLOUD_TOKEN\")\n  }\n}\n", `dial tcp 127.0.0.1:1: `, true},
		{"", "serve {\n  listen = \"" + url + "\"\n}\n", `must be an address and a port`, false},
		{"", "serve {\n  listen = env(\"CLOUD_TOKEN\")\n}\n", `what env() or file() answered does not fit here`, false},
		{"", "scheduler {\n  interval = env(\"CLOUD_TOKEN\")\n}\n", `attribute \"interval\"`, false},
		{"", "provider \"local\" \"x\" {\n  path = \"x\"\n  passphrase = \"" + string(s.planted[passphrase]) + "\"\n  passphrose = \"" + string(s.planted[passphrase]) + "\"\n}\n", `passphrose`, false},
	} {
		s.write("journal/cloud.fault", []byte(c.fault))
		s.write("keyrotor.hcl", []byte(good+c.more))
		before := d.length()
		must(t, d.cmd.Process.Signal(syscall.SIGHUP))
		d.waitsAfter(before, c.says, `"msg":"reload`+map[bool]string{true: "ed", false: " refused"}[c.taken])
		d.asks("/readyz", "/metrics")
	}
	must(t, os.Remove(s.path("journal/cloud.fault")))
	must(t, d.cmd.Process.Signal(syscall.SIGTERM))
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, d.text())
	}
	s.outputs = append(s.outputs, output{"serve", "stderr", []byte(d.text()), ""})
	// The config of the last reload holds what it was edited to hold.
	s.write("keyrotor.hcl", []byte(good))
}

// use hands out uses of keys, which makes them due.
func (s *scene) use(keys ...string) {
	s.t.Helper()
	db, err := sqlite.Open(s.t.Context(), sqlite.Config{Path: s.path("keyrotor.db")})
	must(s.t, err)
	defer func() { _ = db.Close() }()
	for _, key := range keys {
		_, err := db.Acquire(s.t.Context(), store.LeaseRequest{Key: key, Owner: "x", Count: 20, TTL: time.Minute})
		must(s.t, err)
	}
}

// served is a daemon that runs, and its log so far.
type served struct {
	*scene
	cmd *exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (s *scene) serve() *served {
	s.t.Helper()
	d := &served{scene: s, cmd: s.command("serve", "--interval", "1s", "--listen", "127.0.0.1:0")}
	d.cmd.Stderr = d
	must(s.t, d.cmd.Start())
	return d
}

func (d *served) kill() { _ = d.cmd.Process.Kill() }

func (d *served) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.Write(p)
}

func (d *served) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

func (d *served) length() int { return len(d.text()) }

func (d *served) waits(words ...string) {
	d.t.Helper()
	d.waitsAfter(0, words...)
}

// waitsAfter waits until the log has all these words, from a place on.
func (d *served) waitsAfter(from int, words ...string) {
	d.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		text := d.text()[from:]
		missing := ""
		for _, w := range words {
			if !strings.Contains(text, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("the log does not say %q: %s", missing, text)
		}
	}
}

// asks keeps the answers of the daemon for the search.
func (d *served) asks(paths ...string) {
	d.t.Helper()
	address := ""
	for line := range strings.Lines(d.text()) {
		var record struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "serving HTTP" {
			address = record.Address
		}
	}
	for _, path := range paths {
		res, err := http.Get("http://" + address + path)
		must(d.t, err)
		body, err := io.ReadAll(res.Body)
		must(d.t, err)
		_ = res.Body.Close()
		if len(body) == 0 {
			d.t.Errorf("%s answers nothing", path)
		}
		d.outputs = append(d.outputs, output{"serve", path, body, ""})
	}
}
