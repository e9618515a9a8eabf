package local

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// forge edits a golden file and makes the checksum right again, as somebody would
// who does not have the passphrase: the MAC stays.
func forge(t *testing.T, name string, edit func(*content)) []byte {
	t.Helper()
	c, _, mac, err := decode(golden(t, name))
	if err != nil {
		t.Fatal(err)
	}
	edit(c)
	canonical, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(document{
		Format: formatName, Version: formatVersion,
		Content: canonical, MAC: mac, Checksum: checksum(canonical, mac),
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// swapSealedKeys is by somebody who has the passphrase, so that nothing but the
// binding of each KEK to its version is left to notice.
func swapSealedKeys(t *testing.T) []byte {
	t.Helper()
	c, _, _, err := decode(golden(t, "pbkdf2"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSealer(*c.Seal, provider.NewSecret([]byte(testPassphrase)))
	if err != nil {
		t.Fatal(err)
	}
	c.KEKs[0].Key, c.KEKs[2].Key = c.KEKs[2].Key, c.KEKs[0].Key
	data, err := encode(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every bad file has an error of its own, at each call, and stays as it is.
func TestBadFiles(t *testing.T) {
	replace := func(name, old, with string) []byte {
		return []byte(strings.Replace(string(golden(t, name)), old, with, 1))
	}
	seal := func(edit func(*sealParams)) []byte {
		return forge(t, "argon2id", func(c *content) { edit(c.Seal) })
	}
	type badFile struct {
		data      []byte
		mode      fs.FileMode
		pass      string
		code      provider.Code
		cause     error
		attribute string
	}
	wrongArgon2id := badFile{data: golden(t, "argon2id"), pass: "wrong", code: provider.Unauthenticated, cause: ErrWrongPassphrase}
	if fips140.Enabled() {
		wrongArgon2id.code, wrongArgon2id.cause = provider.Unsupported, ErrFIPS
	}
	for name, tc := range map[string]badFile{
		"group may read":        {data: golden(t, "plain"), mode: 0o640, code: provider.InvalidConfig, cause: ErrPermissions, attribute: "path"},
		"others may read":       {data: golden(t, "plain"), mode: 0o604, code: provider.InvalidConfig, cause: ErrPermissions, attribute: "path"},
		"others may execute":    {data: golden(t, "plain"), mode: 0o601, code: provider.InvalidConfig, cause: ErrPermissions, attribute: "path"},
		"empty":                 {data: []byte{}, code: provider.Integrity, cause: ErrCorrupt},
		"too large":             {data: make([]byte, maxFileSize+1), code: provider.Integrity, cause: ErrCorrupt},
		"something follows":     {data: append(golden(t, "plain"), "{}"...), code: provider.Integrity, cause: ErrCorrupt},
		"altered":               {data: replace("plain", `"primary": 3`, `"primary": 1`), code: provider.Integrity, cause: ErrCorrupt},
		"altered, sealed":       {data: replace("pbkdf2", `"primary": 3`, `"primary": 1`), pass: testPassphrase, code: provider.Integrity, cause: ErrCorrupt},
		"unknown field":         {data: replace("plain", `"checksum"`, `"chequesum"`), code: provider.Integrity, cause: ErrCorrupt},
		"another program's":     {data: []byte(`{"kind":"Secret"}`), code: provider.InvalidConfig, cause: ErrNotKEKFile, attribute: "path"},
		"newer format":          {data: []byte(`{"format":"keyrotor-local-kek","version":2,"keys":[]}`), code: provider.Unsupported, cause: ErrFormatVersion},
		"newer seal":            {data: seal(func(p *sealParams) { p.KDF = "balloon" }), pass: testPassphrase, code: provider.Unsupported, cause: ErrFormatVersion},
		"no passphrase":         {data: golden(t, "argon2id"), code: provider.Unauthenticated, cause: ErrPassphraseRequired},
		"passphrase for plain":  {data: golden(t, "plain"), pass: testPassphrase, code: provider.InvalidConfig, cause: ErrPassphraseUnexpected, attribute: "passphrase"},
		"wrong, Argon2id":       wrongArgon2id,
		"wrong, PBKDF2":         {data: golden(t, "pbkdf2"), pass: "wrong", code: provider.Unauthenticated, cause: ErrWrongPassphrase},
		"primary moved back":    {data: forge(t, "pbkdf2", func(c *content) { c.Primary, c.Rotation = 1, nil }), pass: testPassphrase, code: provider.Integrity, cause: ErrTampered},
		"state set back":        {data: forge(t, "pbkdf2", func(c *content) { c.KEKs[0].State = provider.KeyDisabled }), pass: testPassphrase, code: provider.Integrity, cause: ErrTampered},
		"sealed keys swapped":   {data: swapSealedKeys(t), pass: testPassphrase, code: provider.Integrity, cause: ErrTampered},
		"Argon2id memory":       {data: seal(func(p *sealParams) { p.Memory = maxArgonMemory + 1 }), pass: testPassphrase, code: provider.LimitExceeded, cause: ErrSealLimits},
		"Argon2id passes":       {data: seal(func(p *sealParams) { p.Time = maxArgonTime + 1 }), pass: testPassphrase, code: provider.LimitExceeded, cause: ErrSealLimits},
		"Argon2id lanes":        {data: seal(func(p *sealParams) { p.Threads = maxArgonThreads + 1 }), pass: testPassphrase, code: provider.LimitExceeded, cause: ErrSealLimits},
		"Argon2id without time": {data: seal(func(p *sealParams) { p.Time = 0 }), pass: testPassphrase, code: provider.Integrity, cause: ErrCorrupt},
		"PBKDF2 iterations":     {data: forge(t, "pbkdf2", func(c *content) { c.Seal.Iterations = maxPBKDF2Iterations + 1 }), pass: testPassphrase, code: provider.LimitExceeded, cause: ErrSealLimits},
		"PBKDF2 without":        {data: forge(t, "pbkdf2", func(c *content) { c.Seal.Iterations = 0 }), pass: testPassphrase, code: provider.Integrity, cause: ErrCorrupt},
		"short salt":            {data: seal(func(p *sealParams) { p.Salt = p.Salt[1:] }), pass: testPassphrase, code: provider.Integrity, cause: ErrCorrupt},
		"seal removed":          {data: forge(t, "argon2id", func(c *content) { c.Seal = nil }), code: provider.Integrity, cause: ErrCorrupt},
		"no versions":           {data: forge(t, "plain", func(c *content) { c.KEKs = nil }), code: provider.Integrity, cause: ErrCorrupt},
		"versions out of order": {data: forge(t, "plain", func(c *content) { c.KEKs[1].Version = 1 }), code: provider.Integrity, cause: ErrCorrupt},
		"primary destroyed":     {data: forge(t, "plain", func(c *content) { c.Primary, c.Rotation = 2, nil }), code: provider.Integrity, cause: ErrCorrupt},
		"no primary":            {data: forge(t, "plain", func(c *content) { c.Primary, c.Rotation = 0, nil }), code: provider.Integrity, cause: ErrCorrupt},
		"another's rotation":    {data: forge(t, "plain", func(c *content) { c.Rotation.New = 1 }), code: provider.Integrity, cause: ErrCorrupt},
		"unknown state":         {data: forge(t, "plain", func(c *content) { c.KEKs[0].State = "lost" }), code: provider.Integrity, cause: ErrCorrupt},
		"short key":             {data: forge(t, "plain", func(c *content) { c.KEKs[0].Key = c.KEKs[0].Key[1:] }), code: provider.Integrity, cause: ErrCorrupt},
		"no id":                 {data: forge(t, "plain", func(c *content) { c.ID = fileID{} }), code: provider.Integrity, cause: ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kek.json")
			writeFile(t, path, tc.data)
			if tc.mode != 0 {
				if err := os.Chmod(path, tc.mode); err != nil {
					t.Fatal(err)
				}
			}
			for call, err := range everyCall(open(t, path, tc.pass)) {
				t.Run(call, func(t *testing.T) {
					wantError(t, err, tc.code, tc.cause, tc.attribute)
					if strings.Contains(err.Error(), testPassphrase) {
						t.Errorf("%v says the passphrase", err)
					}
				})
			}
			if !bytes.Equal(readFile(t, path), tc.data) {
				t.Error("the file was changed")
			}
		})
	}
}

// everyCall answers the errors of all calls but CreateKey.
func everyCall(m *manager) map[string]error {
	ctx := context.Background()
	errs := map[string]error{}
	_, errs["Check"] = m.Check(ctx, provider.CheckRequest{Deep: true})
	_, errs["DescribeKey"] = m.DescribeKey(ctx)
	_, errs["GenerateDataKey"] = m.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
	_, errs["Wrap"] = m.Wrap(ctx, nil)
	_, errs["Unwrap"] = m.Unwrap(ctx, nil)
	_, errs["Rewrap"] = m.Rewrap(ctx, nil)
	_, errs["RotateKey"] = m.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "3"})
	errs["SetVersionState"] = m.SetVersionState(ctx, provider.SetVersionStateRequest{Version: "1", State: provider.KeyDisabled})
	return errs
}

func TestMissingFile(t *testing.T) {
	dir := t.TempDir()
	m := open(t, filepath.Join(dir, "kek.json"), "")
	for call, err := range everyCall(m) {
		wantError(t, err, provider.NotFoundKey, ErrMissing, "")
		if !strings.Contains(err.Error(), "keyrotor kek create NAME") {
			t.Errorf("%s: %v does not say what to do", call, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	nowhere := open(t, filepath.Join(dir, "no", "kek.json"), "")
	_, err := nowhere.CreateKey(t.Context(), provider.CreateKeyRequest{})
	wantError(t, err, provider.InvalidConfig, nil, "path")
}

func TestPassphraseFileForPlainFile(t *testing.T) {
	m := create(t, "")
	m.pass = passphrase{file: "/does/not/matter"}
	_, err := m.DescribeKey(t.Context())
	wantError(t, err, provider.InvalidConfig, ErrPassphraseUnexpected, attrPassphraseFile)
}

// A file that lost its end anywhere says so, whatever the passphrase. The last
// byte is a newline that nobody misses.
func TestTruncatedFile(t *testing.T) {
	for _, name := range []string{"plain", "argon2id", "pbkdf2"} {
		data := golden(t, name)
		for n := range len(data) - 1 {
			_, _, _, err := decode(data[:n])
			wantError(t, err, provider.Integrity, ErrCorrupt, "")
		}
	}
}

// No altered byte changes what a file means.
func TestAlteredFile(t *testing.T) {
	for _, name := range []string{"plain", "argon2id"} {
		data := golden(t, name)
		want, _, mac, err := decode(data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			for _, mask := range []byte{0x01, 0x20} { // another digit, another case
				data[i] ^= mask
				got, _, gotMAC, err := decode(data)
				if err == nil && (!reflect.DeepEqual(got, want) || !bytes.Equal(gotMAC, mac)) {
					t.Errorf("%s, byte %d, mask %#x: read as another file", name, i, mask)
				}
				data[i] ^= mask
			}
		}
	}
}

func TestIOErrors(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "/kek", Err: fs.ErrPermission}
	for _, tc := range []struct {
		err  error
		code provider.Code
	}{
		{denied, provider.Denied},
		{fmt.Errorf("input/output error"), provider.Unavailable},
		{ErrPlatform, provider.Unsupported},
	} {
		wantError(t, ioError(tc.err), tc.code, tc.err, "")
	}
}

func TestNotRegular(t *testing.T) {
	target := create(t, "").file.path
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir} {
		for _, err := range everyCall(open(t, path, "")) {
			wantError(t, err, provider.InvalidConfig, ErrNotRegular, "path")
		}
	}
	if _, err := os.Readlink(link); err != nil {
		t.Errorf("the link was replaced: %v", err)
	}
}
