package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/testing/secrets"
)

// TestLife runs every command of a key's whole life, in both forms of answers and as
// verbosely as there is, and looks for what went in.
func TestLife(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.makeKeys()
	s.useKeys()
	s.moveKeys()
	s.endKeys()
	s.lookAround()
	s.loseTheStore()
	s.planted["root of the passphrase"] = s.derived()
}

func (s *scene) makeKeys() {
	s.t.Helper()
	s.withEnv("KEYROTOR_PASSPHRASE", string(s.planted[kekPassphrase]), func() {
		s.text("init", "first", "--seal")
		s.json("init", "second")
	})
	s.text("kek", "create", "plain")
	s.readKEK()
	s.text("key", "create", "payments", "--wrap-with", "sealed,cloud")
	s.json("key", "create", "orders", "--wrap-with", "plain", "--note", note)

	root := s.planted[rawRoot]
	s.run(command{args: []string{"key", "import", "legacy", "--format", "raw", "--wrap-with", "sealed,cloud"}, stdin: string(root)})
	s.json("key", "import", "legacy", "--new-version", "--file", s.plant("hex", hex.EncodeToString(s.planted[hexRoot])))
	s.run(command{
		args:  []string{"key", "import", "legacy", "--new-version"},
		stdin: base64.URLEncoding.EncodeToString(s.planted[base64Root]) + "\n",
	})
	for range 2 { // the second time there is nothing to do
		s.text("key", "setup", "taken", "--old-file", s.plant("old", hex.EncodeToString(s.planted[hexRoot])),
			"--new-file", s.plant("new", string(s.planted[passphrase])+"\n"), "--new-passphrase", "--wrap-with", "plain")
	}
	s.json("key", "import", "vault", "--passphrase", "--file", s.plant("passphrase", string(s.planted[passphrase])+"\n"), "--wrap-with", "plain")
}

// note stands in the history, and so in backups, inside their encrypted part alone.
const note = "a note for the auditor"

// readKEK plants the key-encryption key that lies unsealed in its file, which is to
// hold it.
func (s *scene) readKEK() {
	s.t.Helper()
	file, err := os.ReadFile(s.path("plain.kek"))
	must(s.t, err)
	var doc struct {
		Content struct {
			KEKs []struct{ Key []byte }
		}
	}
	must(s.t, json.Unmarshal(file, &doc))
	if len(doc.Content.KEKs) != 1 || len(doc.Content.KEKs[0].Key) != 32 {
		s.t.Fatalf("the KEK file is %s", file)
	}
	s.planted[plainKEK] = doc.Content.KEKs[0].Key
	s.holders["plain.kek"] = plainKEK
}

func (s *scene) useKeys() {
	s.t.Helper()
	value := string(s.planted[plaintext])
	aad := s.plant("aad", "customer 42")
	for _, way := range [][]string{
		{"--lines"}, {"--aad-file", aad}, {"-o", "json"}, {"--lines", "-o", "json"},
	} {
		token, _ := s.run(command{args: append([]string{"encrypt", "payments"}, way...), stdin: value + "\n"})
		if len(way) > 0 && way[len(way)-1] == "json" {
			way = way[:len(way)-2]
			token = string(tokens(s.t, token))
		}
		args := append([]string{"decrypt"}, way...)
		s.run(command{args: args, stdin: token, shows: plaintext})
		s.run(command{args: append(args, "-o", "json"), stdin: token, shows: plaintext})
	}
	binary, _ := s.run(command{args: []string{"encrypt", "legacy", "--binary"}, stdin: value})
	s.run(command{args: []string{"decrypt"}, stdin: binary, shows: plaintext})

	for name, key := range map[string]string{"a.env": "payments", "b.yaml": "payments", "c.txt": "legacy"} {
		token, _ := s.run(command{args: []string{"encrypt", key}, stdin: value})
		s.write("shop/"+name, []byte("value: "+token))
	}
	s.text("key", "rotate", "payments")
	s.json("reencrypt", "--dry-run")
	s.text("reencrypt", "shop")
	s.json("key", "rotate", "payments", "--reason", "emergency", "--note", note)
	s.text("reencrypt", "--dry-run")
	s.json("reencrypt")
	s.both("census")
}

func (s *scene) moveKeys() {
	s.t.Helper()
	s.text("kek", "rotate", "sealed")
	s.json("kek", "rotate", "cloud")
	s.text("kek", "rewrap", "sealed")
	s.json("kek", "rewrap", "cloud")
	s.both("kek", "show", "sealed")
	s.text("key", "migrate", "legacy", "--from", "cloud", "--to", "plain")
	s.json("key", "migrate", "--all", "--from", "sealed", "--to", "plain")
}

func (s *scene) endKeys() {
	s.t.Helper()
	s.text("key", "state", "legacy", "1", "suspended")
	s.json("key", "state", "legacy", "1", "deactivated")
	s.text("key", "set", "payments", "--min-decrypt-version", "2")
	s.json("key", "set", "payments", "--block-reads")
	s.text("key", "destroy", "schedule", "payments", "1")
	s.text("key", "destroy", "cancel", "payments", "1")
	s.json("key", "destroy", "schedule", "payments", "1", "--note", note)
	s.json("key", "destroy", "cancel", "payments", "1")
	s.text("key", "destroy", "schedule", "payments", "2")
	s.both("key", "destroy", "list")
	s.fails(1, "", "key", "destroy", "run", "payments", "2")
	s.text("key", "destroy", "run", "payments", "2", "--force", "--note", note)
	s.json("key", "destroy", "run", "payments", "1", "--force", "--note", note)
	s.both("key", "destroy", "receipt", "payments", "1")
}

func (s *scene) lookAround() {
	s.t.Helper()
	for _, args := range [][]string{
		{"key", "list"},
		{"key", "show", "legacy"},
		{"history", "list"},
		{"config", "validate"},
		{"provider", "list"},
		{"provider", "check", "--deep"},
		{"provider", "schema", "sealed"},
		{"provider", "schema", "cloud"},
		{"plugin", "list"},
		{"plugin", "lock"},
		{"plugin", "verify"},
		{"doctor"},
		{"doctor", "--deep"},
		{"version"},
	} {
		s.both(args...)
	}
}

// loseTheStore makes backups, in which nothing shows, and lives by one.
func (s *scene) loseTheStore() {
	s.t.Helper()
	s.text("backup", "create", "first.backup")
	s.json("backup", "create", "second.backup", "--wrap-with", "sealed")
	for _, name := range []string{"first.backup", "second.backup"} {
		file, err := os.ReadFile(s.path(name))
		must(s.t, err)
		inside := map[string][]byte{"note": []byte(note), "name of a key": []byte("payments"), "place of a file": []byte(s.path("shop"))}
		for _, found := range secrets.Found(file, inside) {
			s.t.Errorf("%s: %s", name, found)
		}
		if !bytes.Contains(file, []byte("sealed")) {
			s.t.Errorf("%s does not say what wraps it: is it the backup?", name)
		}
	}
	s.text("backup", "show", "first.backup")
	s.json("backup", "show", "second.backup")
	s.text("backup", "verify", "second.backup")
	s.json("backup", "verify", "first.backup")
	must(s.t, os.Remove(s.path("keyrotor.db")))
	s.text("backup", "restore", "first.backup")
	s.text("key", "list")
	s.fails(1, string(s.planted[plaintext]), "encrypt", "payments")
	s.text("recover", "--seen", "payments=7")
	must(s.t, os.Remove(s.path("keyrotor.db")))
	s.json("backup", "restore", "second.backup")
	s.json("recover", "shop")
	s.both("history", "list", "--type", "restored")
}

// derived is the root that the import derived from the passphrase, which the history
// says how to do.
func (s *scene) derived() []byte {
	s.t.Helper()
	var page struct {
		Events []struct{ Details map[string]string }
	}
	must(s.t, json.Unmarshal(s.json("history", "list", "--key", "vault", "--type", "creation"), &page))
	d := page.Events[len(page.Events)-1].Details
	kdf := keyring.KDF{Name: d["kdf"]}
	salt, err := hex.DecodeString(d["kdf.salt"])
	must(s.t, err)
	copy(kdf.Salt[:], salt)
	number := func(name string, bits int) uint64 {
		if d[name] == "" {
			return 0
		}
		n, err := strconv.ParseUint(d[name], 10, bits)
		must(s.t, err)
		return n
	}
	kdf.Time, kdf.Memory = uint32(number("kdf.time", 32)), uint32(number("kdf.memory_kib", 32))
	kdf.Threads, kdf.Iterations = uint8(number("kdf.threads", 8)), uint32(number("kdf.iterations", 32))
	root, err := kdf.Root(secret.New(bytes.Clone(s.planted[passphrase])))
	must(s.t, err)
	return root.Reveal()
}

// tokens are those of an answer in JSON, one a line.
func tokens(t *testing.T, answer string) []byte {
	t.Helper()
	var doc struct {
		Ciphertext  string
		Ciphertexts []string
	}
	must(t, json.Unmarshal([]byte(answer), &doc))
	var lines []byte
	for _, token := range append(doc.Ciphertexts, doc.Ciphertext) {
		if token != "" {
			lines = fmt.Appendln(lines, token)
		}
	}
	return lines
}
