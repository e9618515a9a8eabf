package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// keyrotor answers a command that is ready to be started, in a folder with a key.
func keyrotor(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	config := filepath.Join(dir, "keyrotor.hcl")
	for _, setup := range [][]string{
		{"init", dir, "--plugins", os.Getenv(pluginsVariable)},
		{"key", "create", "payments", "--config", config},
	} {
		if out, err := exec.Command("keyrotor", setup...).CombinedOutput(); err != nil {
			t.Fatalf("keyrotor %s: %v\n%s", strings.Join(setup, " "), err, out)
		}
	}
	cmd := exec.Command("keyrotor", args...)
	cmd.Env = append(os.Environ(), "KEYROTOR_CONFIG="+config)
	return cmd
}

// TestRotationWaits: while another process works on the key, a rotation says so
// once, and goes on when the other is done.
func TestRotationWaits(t *testing.T) {
	for _, c := range []struct {
		output, note string
	}{
		{"text", "note: another process works on key \"payments\"; waiting for it\n"},
		{"json", `{"note":"another process works on key \"payments\"; waiting for it"}` + "\n"},
	} {
		t.Run(c.output, func(t *testing.T) {
			dir := t.TempDir()
			cmd := keyrotor(t, dir, "key", "rotate", "payments", "--output", c.output)
			s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
			if err != nil {
				t.Fatal(err)
			}
			intent, err := s.Begin(t.Context(), store.Claim{
				Key: "payments", Kind: "rotate", Operation: "another",
				Owner: rotation.CurrentOwner().String(), TTL: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			var stdout strings.Builder
			cmd.Stdout = &stdout
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said := bufio.NewReader(stderr)
			if note, err := said.ReadString('\n'); err != nil || note != c.note {
				t.Errorf("got %q, %v; want %q", note, err, c.note)
			}
			if err := errors.Join(s.End(t.Context(), intent), s.Close()); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(said)
			if err := errors.Join(err, cmd.Wait()); err != nil {
				t.Fatalf("%v\n%s", err, rest)
			}
			if strings.Contains(string(rest), "waiting") {
				t.Errorf("it is said again: %q", rest)
			}
			if !strings.Contains(stdout.String(), "2") {
				t.Errorf("the answer is %q", stdout.String())
			}
		})
	}
}
