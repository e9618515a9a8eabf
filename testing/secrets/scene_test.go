package secrets_test

import (
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/testing/secrets"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// Names of planted secrets, and of variables of the environment that hold some.
const (
	plaintext     = "plaintext"
	kekPassphrase = "KEK_PASSPHRASE"
	cloudToken    = "CLOUD_TOKEN"
	rawRoot       = "raw root"
	hexRoot       = "hex root"
	base64Root    = "base64 root"
	passphrase    = "import passphrase"
	plainKEK      = "plain KEK"
	wrongSecret   = "wrong passphrase"
)

// config has three providers: a KEK file that is sealed, one that is not, and a
// plugin that takes a token and can be made to misbehave.
const config = `
storage "sqlite" {
  path = "keyrotor.db"
}
plugins {
  directory = %q
}
provider "local" "sealed" {
  path       = "sealed.kek"
  passphrase = env("KEK_PASSPHRASE")
}
provider "local" "plain" {
  path = "plain.kek"
}
provider "faulty" "cloud" {
  journal = "journal"
  token   = env("CLOUD_TOKEN")
}
data "files" "shop" {
  paths = ["shop"]
}
`

// output is what a command wrote to one of its streams.
type output struct {
	command, stream string
	text            []byte
	// shows is the secret that the command is asked for; empty if it is none.
	shows string
}

// scene is a folder with a config, and everything that came out of the commands which
// were run there. What is planted lies in a folder beside it.
type scene struct {
	t       *testing.T
	dir     string
	files   string
	env     map[string]string
	planted map[string][]byte
	outputs []output
	// holders are the files that are to hold a secret.
	holders map[string]string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{
		t: t, dir: t.TempDir(), files: t.TempDir(), holders: map[string]string{},
		planted: map[string][]byte{
			// The KEK file is one of the provider's golden files, whose key derivation
			// is quick, with its passphrase.
			kekPassphrase: []byte("correct horse battery staple"),
			cloudToken:    []byte(`hvs.CAESI"<cloud>&token`),
			// What hosts have in their environment, and no config names.
			"VAULT_TOKEN":           []byte("hvs.CAESIJ-of-another-program"),
			"AWS_SECRET_ACCESS_KEY": []byte("wJalrXUtnFEMI/K7MDENG/bPxRfiCYplanted"),
			"SHOP_DATABASE_URL":     []byte("postgres://shop:pl4nted-p4ssw0rd@db/shop"),
			plaintext:               []byte("4929 1234 5678 9012, Ada Lovelace"),
			passphrase:              []byte("Tr0ub4dor & three more words"),
			wrongSecret:             []byte("another guess at these words"),
			rawRoot:                 draw(32), hexRoot: draw(32), base64Root: draw(32),
		},
	}
	s.env = map[string]string{
		"PATH": os.Getenv("PATH"), "GODEBUG": os.Getenv("GODEBUG"), "HOME": s.path("home"), "TMPDIR": s.path("tmp"),
		"KEYROTOR_CONFIG": s.path("keyrotor.hcl"),
	}
	for _, name := range []string{kekPassphrase, cloudToken, "VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "SHOP_DATABASE_URL"} {
		s.env[name] = string(s.planted[name])
	}
	for _, folder := range []string{"home", "tmp", "journal", "shop"} {
		must(t, os.Mkdir(s.path(folder), 0o700))
	}
	s.write("keyrotor.hcl", fmt.Appendf(nil, config, filepath.Join(built, "plugins")))
	sealed := "argon2id.json"
	if fips140.Enabled() {
		sealed = "pbkdf2.json"
	}
	golden, err := os.ReadFile(filepath.Join("..", "..", "providers", "local", "testdata", sealed))
	must(t, err)
	s.write("sealed.kek", golden)
	t.Cleanup(s.search)
	s.text("plugin", "lock")
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) write(name string, content []byte) {
	s.t.Helper()
	must(s.t, os.WriteFile(s.path(name), content, 0o600))
}

// plant writes a file with a secret outside of the folder.
func (s *scene) plant(name, content string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.files, name)
	must(s.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// command is one run of the command line.
type command struct {
	args  []string
	stdin string
	// status is the exit status that it must have.
	status int
	// shows is the secret that it answers, and stdout must hold.
	shows string
}

// run runs a command at the most verbose log level, and answers what it said.
func (s *scene) run(c command) (stdout, stderr string) {
	s.t.Helper()
	cmd := s.command(c.args...)
	cmd.Stdin = strings.NewReader(c.stdin)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != c.status {
		s.t.Fatalf("keyrotor %s: %v, want exit status %d\n%s%s", strings.Join(c.args, " "), err, c.status, &out, &log)
	}
	if c.shows != "" && len(secrets.Found(out.Bytes(), map[string][]byte{c.shows: s.planted[c.shows]})) == 0 {
		s.t.Fatalf("keyrotor %s does not answer the %s: %s", strings.Join(c.args, " "), c.shows, &out)
	}
	line := strings.Join(c.args, " ")
	s.outputs = append(s.outputs, output{line, "stdout", out.Bytes(), c.shows}, output{line, "stderr", log.Bytes(), ""})
	return out.String(), log.String()
}

func (s *scene) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(built, "keyrotor"), append(slices.Clone(args), "--log-level", "debug")...)
	cmd.Dir = s.dir
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// text and json run a command that must succeed, in one of the forms of answers; both do
// it in both, or in the usual tier in JSON, which holds all that the text does.
func (s *scene) text(args ...string) string {
	s.t.Helper()
	out, _ := s.run(command{args: args})
	return out
}

func (s *scene) json(args ...string) []byte {
	s.t.Helper()
	out, _ := s.run(command{args: append(slices.Clone(args), "-o", "json")})
	if !json.Valid([]byte(out)) {
		s.t.Errorf("keyrotor %s answers %q", strings.Join(args, " "), out)
	}
	return []byte(out)
}

func (s *scene) both(args ...string) {
	s.t.Helper()
	if tier.Exhaustive {
		s.text(args...)
	}
	s.json(args...)
}

// fails runs a command that must fail, in the forms that both has.
func (s *scene) fails(status int, stdin string, args ...string) {
	s.t.Helper()
	if tier.Exhaustive {
		s.run(command{args: args, stdin: stdin, status: status})
	}
	s.failsInJSON(status, stdin, args...)
}

// failsInJSON is fails in the form that holds all that the other does, for cases that
// there are many of.
func (s *scene) failsInJSON(status int, stdin string, args ...string) {
	s.t.Helper()
	s.run(command{args: append(slices.Clone(args), "-o", "json"), stdin: stdin, status: status})
}

// withEnv runs f with another value of a variable.
func (s *scene) withEnv(name, value string, f func()) {
	before := s.env[name]
	s.env[name] = value
	f()
	s.env[name] = before
}

// search looks for every planted secret in all that came out and in every file of the
// folder.
func (s *scene) search() {
	s.t.Helper()
	size := 0
	for _, o := range s.outputs {
		size += len(o.text)
		s.look("keyrotor "+o.command+", "+o.stream, o.text, o.shows)
	}
	files := s.searchFiles()
	s.t.Logf("looked for %d secrets in %d outputs of %d KiB and in %d files", len(s.planted), len(s.outputs), size>>10, files)
}

func (s *scene) searchFiles() (files int) {
	s.t.Helper()
	must(s.t, filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a process is at work
		}
		files++
		name, _ := filepath.Rel(s.dir, path)
		s.look(name, append([]byte(name+"\n"), content...), s.holders[name])
		return err
	}))
	return files
}

// look complains of each secret that shows, but for the one that is to.
func (s *scene) look(where string, what []byte, but string) {
	s.t.Helper()
	for name, planted := range s.planted {
		if name == but {
			continue
		}
		if found := secrets.Found(what, map[string][]byte{name: planted}); len(found) > 0 {
			s.t.Errorf("%s: %s", where, found[0])
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
