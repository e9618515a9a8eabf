//go:build exhaustive

package secrets_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFailures runs what must fail, since errors quote what they were given.
func TestFailures(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.run(command{
		args:  []string{"key", "import", "legacy", "--wrap-with", "sealed"},
		stdin: hex.EncodeToString(s.planted[hexRoot]),
	})
	token, _ := s.run(command{args: []string{"encrypt", "legacy", "--aad", "customer 42"}, stdin: string(s.planted[plaintext])})
	s.write("shop/a.env", []byte(token))

	s.passphrases(token)
	s.badTokens(token)
	s.badMaterial()
	s.secretsForFiles()
	s.misuse()
	s.damage(token)
}

// passphrases opens the KEK file with others than its own.
func (s *scene) passphrases(token string) {
	s.t.Helper()
	s.withEnv(kekPassphrase, string(s.planted[wrongSecret]), func() {
		s.fails(1, token, "decrypt", "--aad", "customer 42")
		s.fails(1, "", "provider", "check", "sealed", "--deep")
		s.fails(1, "", "doctor")
	})
	s.withEnv(kekPassphrase, "", func() { s.fails(1, token, "decrypt") })
}

func (s *scene) badTokens(token string) {
	s.t.Helper()
	value := string(s.planted[plaintext])
	s.fails(1, token, "decrypt", "--aad", "customer 43")
	s.fails(1, token[:len(token)-4], "decrypt")
	s.fails(1, strings.Replace(token, "v1:A", "v1:B", 1), "decrypt")
	s.fails(1, token[:len(token)-5]+"AAAA", "decrypt", "--aad", "customer 42")
	s.fails(1, value, "decrypt")
	s.fails(1, value+"\n"+value+"\n", "decrypt", "--lines")
	s.fails(1, "keyrotor:legacy:v1:"+value, "decrypt")
	s.fails(1, value, "encrypt", "nobody")
	s.fails(2, value, "encrypt", "legacy", "--binary", "--lines")
	s.write("shop/broken", []byte("keyrotor:legacy:v1:"+value+"\n"+"x "+value+" "+token))
	s.fails(3, "", "reencrypt", "shop")
	s.fails(3, "", "census", "shop")
	must(s.t, os.Remove(s.path("shop/broken")))
}

// badMaterial imports what is no key, and the same key again.
func (s *scene) badMaterial() {
	s.t.Helper()
	root := s.planted[hexRoot]
	digits := hex.EncodeToString(root)
	for _, text := range []string{
		string(s.planted[passphrase]), digits[:32], digits[:63], digits + "0", digits + "\n\n", strings.ToUpper(digits)[:62] + "xx",
		string(root[:31]), string(root) + "\n\n", "0x" + digits, "key = " + digits,
	} {
		s.failsInJSON(1, text, "key", "import", "other")
	}
	s.failsInJSON(1, digits, "key", "import", "other", "--format", "base64")
	s.failsInJSON(1, digits, "key", "import", "legacy", "--new-version")
	s.failsInJSON(1, digits, "key", "import", "Not A Name")
	s.failsInJSON(1, string(s.planted[passphrase][:11]), "key", "import", "other", "--passphrase")
	s.failsInJSON(1, strings.Repeat(string(s.planted[passphrase]), 200), "key", "import", "other", "--passphrase")
}

// secretsForFiles names a file with secrets where one of another kind is read.
func (s *scene) secretsForFiles() {
	s.t.Helper()
	file := s.plant("secrets.hcl", fmt.Sprintf("%s\n%x\n%s\n", s.planted[passphrase], s.planted[hexRoot], s.planted[cloudToken]))
	s.failsInJSON(1, "", "config", "validate", file)
	s.failsInJSON(1, "", "backup", "show", file)
	s.failsInJSON(1, "", "backup", "verify", file)
	s.failsInJSON(1, "", "backup", "restore", file)
	for before, now := range map[string]string{
		`path = "keyrotor.db"`:        fmt.Sprintf("path = %q", file),
		`"sealed.kek"`:                fmt.Sprintf("%q", file),
		"plugins {":                   fmt.Sprintf("plugins {\n  lock = %q", file),
		`env("KEK_PASSPHRASE")`:       fmt.Sprintf("file(%q)", file),
		`token   = env`:               fmt.Sprintf("tries = file(%q)\n  token = env", file),
		`"plain" {`:                   fmt.Sprintf("\"plain\" {\n  passphrase_file = %q", file),
		`paths = ["shop"]`:            fmt.Sprintf("paths = file(%q)", file),
		`provider "local" "sealed" {`: fmt.Sprintf("provider \"local\" \"sealed\" {\n  passphrase_file = %q", file),
	} {
		s.withConfig(before, now, func() { s.failsInJSON(1, "", "doctor", "--deep") })
	}
}

// withConfig runs f with something else in the config.
func (s *scene) withConfig(before, now string, f func()) {
	s.t.Helper()
	text, err := os.ReadFile(s.path("keyrotor.hcl"))
	must(s.t, err)
	if strings.Count(string(text), before) != 1 {
		s.t.Fatalf("%q does not stand in the config once", before)
	}
	other := s.plant("other.hcl", strings.Replace(string(text), before, now, 1))
	moved := filepath.Join(s.dir, "other.hcl")
	must(s.t, os.Rename(other, moved)) // paths begin at the config
	s.withEnv("KEYROTOR_CONFIG", moved, f)
	must(s.t, os.Remove(moved))
}

// misuse writes secrets where none belongs. A command line is seen by everybody on
// the machine; what is said about it goes into logs that others read.
func (s *scene) misuse() {
	s.t.Helper()
	for _, secret := range []string{string(s.planted[passphrase]), hex.EncodeToString(s.planted[hexRoot])} {
		quoted := fmt.Sprintf("%q", secret)
		for _, now := range []string{
			quoted + " " + quoted, quoted[:len(quoted)-1], "[" + quoted + "]", secret, "env(" + quoted + ")", "env(" + quoted,
			"<<EOT\n" + secret, `"${` + secret + `}"`, "env(\"HOME\")\n  passphrse = " + quoted,
		} {
			s.withConfig(`env("KEK_PASSPHRASE")`, now, func() { s.failsInJSON(1, "", "key", "create", "other") })
		}
		for _, args := range [][]string{
			{"key", "import", "other", "--passphrase=" + secret},
			{"key", "import", "other", "--passphrase", secret},
			{"key", "import", "other", "-p" + secret},
			{"key", "import", "other", "--format", secret},
			{"init", "third", "--seal=" + secret},
			{"encrypt", "legacy", secret},
			{"decrypt", secret},
		} {
			s.failsInJSON(2, "", args...)
		}
	}
}
