package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

func noManager(context.Context, provider.Config) (provider.KeyManager, error) {
	return nil, provider.Errorf(provider.InvalidConfig, "never configured in this test")
}

func TestAnswerPerson(t *testing.T) {
	complete := Plugin{Info: provider.Info{Name: "vault-transit", Version: "1.4.0"}, New: noManager}
	handshake := wire.Handshake()
	host := map[string]string{handshake.MagicCookieKey: handshake.MagicCookieValue}
	tests := map[string]struct {
		plugin Plugin
		args   []string
		env    map[string]string
		status int
		done   bool
		stdout string
		stderr string
	}{
		"a host":           {plugin: complete, env: host},
		"--version":        {plugin: complete, args: []string{"--version"}, done: true, stdout: "vault-transit 1.4.0\n"},
		"by hand":          {plugin: complete, status: 1, done: true, stderr: "This is vault-transit 1.4.0, a provider plugin for Keyrotor."},
		"another cookie":   {plugin: complete, env: map[string]string{handshake.MagicCookieKey: "x"}, status: 1, done: true, stderr: "This is vault-transit 1.4.0, a provider plugin for Keyrotor."},
		"without a name":   {plugin: Plugin{New: noManager}, env: host, status: 1, done: true, stderr: "this plugin is not complete: sdk.Plugin.Info.Name is empty\n"},
		"without New":      {plugin: Plugin{Info: provider.Info{Name: "x"}}, env: host, status: 1, done: true, stderr: "this plugin is not complete: sdk.Plugin.New is nil\n"},
		"unknown argument": {plugin: complete, args: []string{"--help"}, status: 1, done: true, stderr: "This is vault-transit 1.4.0, a provider plugin for Keyrotor."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status, done := answerPerson(test.plugin, test.args, func(key string) string { return test.env[key] }, &stdout, &stderr)
			if status != test.status || done != test.done {
				t.Errorf("answered %d, %v, want %d, %v", status, done, test.status, test.done)
			}
			if stdout.String() != test.stdout || !strings.HasPrefix(stderr.String(), test.stderr) || (test.stderr == "" && stderr.Len() > 0) {
				t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
			}
		})
	}
}

func TestLogLevel(t *testing.T) {
	for level, want := range map[string]string{
		"": "info warn", "nonsense": "info warn", "debug": "debug info warn", "warn": "warn", "off": "",
	} {
		var out bytes.Buffer
		log := newLogger("x", level, &out)
		log.Debug("debug")
		log.Info("info")
		log.Warn("warn")
		var got []string
		decoder := json.NewDecoder(&out)
		for decoder.More() {
			var line struct {
				Message string `json:"@message"`
			}
			if err := decoder.Decode(&line); err != nil {
				t.Fatal(err)
			}
			got = append(got, line.Message)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("level %q logs %q, want %q", level, got, want)
		}
	}
}

func TestOpenLifeline(t *testing.T) {
	if lifeline, err := openLifeline(""); lifeline != nil || err != nil {
		t.Errorf("none: %v, %v", lifeline, err)
	}
	for _, fd := range []string{"x", "-1", "2", "3.0", "1000000", "99999999999"} {
		if _, err := openLifeline(fd); err == nil || !strings.Contains(err.Error(), wire.LifelineEnv) {
			t.Errorf("descriptor %s: %v", fd, err)
		}
	}
}

func ExampleServe() {
	info := provider.Info{Name: "mykms", Version: "1.0.0"}
	schema := provider.Schema{Attributes: []provider.Attribute{{Name: "address", Type: provider.String, Required: true}}}
	// This is all of main in a plugin.
	main := func() {
		Serve(Plugin{Info: info, Schema: schema, New: noManager})
	}
	if os.Getenv(wire.Handshake().MagicCookieKey) != "" { // A host started us.
		main()
	}
}
