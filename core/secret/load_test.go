package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/testing/secrets"
)

type database struct {
	Host     string
	Password secret.Value[string] `keyrotor:"env=DB_PASSWORD,handling=sealed,key=payments"`
}

type limits struct{ Burst, Rate int }

type service struct {
	Name    string `yaml:"name"`
	Primary database
	Replica *database              `keyrotor:"prefix=REPLICA_"`
	Absent  *struct{ S absentee }  `keyrotor:"prefix=ABSENT_"`
	TLSKey  secret.Value[pem]      `keyrotor:"file=tls.key"`
	Limits  secret.Value[limits]   `keyrotor:"env=LIMITS,handling=mask,name=limits"`
	Port    secret.Value[int]      `keyrotor:"env=PORT,optional"`
	Other   secret.Value[string]   `keyrotor:"-"`
	List    []secret.Value[string] // not ours
	Self    *service
	embedded
}

type absentee struct {
	V secret.Value[string] `keyrotor:"env=V,optional"`
}

type embedded struct {
	Token secret.Value[string] `keyrotor:"env=API_TOKEN"`
}

// setenv sets variables for the length of a test, in a folder of its own.
func setenv(t *testing.T, env map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, v := range env {
		t.Setenv(name, v)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	k := newKeys(t)
	token, err := k.Encrypt(t.Context(), "orders", []byte("t0ken"), []byte("API_TOKEN"))
	if err != nil {
		t.Fatal(err)
	}
	setenv(t, map[string]string{
		"DB_PASSWORD": "s3cret", "REPLICA_DB_PASSWORD": "r3plica ", "LIMITS": `{"Burst": 3, "Rate": 5}`, "API_TOKEN": string(token),
	})
	write(t, "tls.key", "line 1\nline 2\r\n")
	var s service
	kept := value(t, nil, "kept", secret.Options{Name: "other", Handling: secret.Mask})
	s.Other, s.Primary.Host = kept, "db.example"
	values, err := secret.Load(t.Context(), k, &s, secret.LoadOptions{Key: "payments", Unset: true})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range values {
		names = append(names, v.Name()+" "+v.Key())
	}
	if want := []string{"DB_PASSWORD payments", "REPLICA_DB_PASSWORD payments", "tls.key payments", "limits ", "API_TOKEN orders"}; !slices.Equal(names, want) {
		t.Errorf("it loads %q, want %q", names, want)
	}
	if got := used(t, s.Primary.Password); got != "s3cret" || s.Primary.Password.Handling() != secret.Sealed {
		t.Errorf("the password is %q, %s", got, s.Primary.Password.Handling())
	}
	if s.Replica == nil {
		t.Fatal("there is no replica")
	}
	if got := used(t, s.Replica.Password); got != "r3plica " {
		t.Errorf("that of the replica is %q", got)
	}
	if got, err := s.TLSKey.Get(t.Context()); string(got) != "line 1\nline 2" || err != nil || s.TLSKey.Handling() != secret.Encrypt {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if got, err := s.Limits.Get(t.Context()); got != (limits{3, 5}) || err != nil {
		t.Errorf("the limits are %v, %v", got, err)
	}
	if got := used(t, s.Token); got != "t0ken" {
		t.Errorf("the token stands for %q", got)
	}
	if same, err := s.Token.Ciphertext(t.Context()); string(same) != string(token) || err != nil {
		t.Errorf("the token was not taken as it is: %s, %v", same, err)
	}
	if got := used(t, s.Other); got != "kept" || s.Primary.Host != "db.example" || s.Port.Name() != "" || s.Absent != nil || s.Self != nil {
		t.Errorf("what was to be left alone was not: %q %+v", got, s)
	}
	for _, env := range []string{"DB_PASSWORD", "REPLICA_DB_PASSWORD", "LIMITS", "API_TOKEN"} {
		if v, ok := os.LookupEnv(env); ok {
			t.Errorf("%s is still %q", env, v)
		}
	}
	k.rotate(t, "payments")
	if r, err := secret.Rotate(t.Context(), k, values, secret.RotateOptions{}); err != nil || r.Changed != 3 || r.Failed > 0 {
		t.Errorf("rotated: %+v, %v", r, err)
	}
	if got := used(t, s.Replica.Password); got != "r3plica " {
		t.Errorf("a value that was loaded is not the one that was rotated: %q", got)
	}
}

// TestLoadFails: everything that is wrong is said at once, and nothing is changed.
func TestLoadFails(t *testing.T) {
	k := newKeys(t)
	foreign, err := k.Encrypt(t.Context(), "payments", []byte(planted), []byte("ANOTHER_NAME"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := k.Encrypt(t.Context(), "payments", []byte(planted), []byte("NUMBER_TOKEN"))
	if err != nil {
		t.Fatal(err)
	}
	setenv(t, map[string]string{
		"GOOD": planted, "EMPTY": "", "NUMBER": planted, "FOREIGN": string(foreign), "NUMBER_TOKEN": string(number),
		"UNKNOWN_KEY": planted, "BAD_TOKEN": "keyrotor:" + planted, "KEYLESS": planted, "OTHER_KEY": string(foreign),
	})
	write(t, "empty", "\n")
	write(t, "large", strings.Repeat("x", 1<<20)+"\n")
	write(t, "odd name", planted)
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	var s struct {
		Good    secret.Value[string] `keyrotor:"env=GOOD,key=payments"`
		Missing secret.Value[string] `keyrotor:"env=MISSING,key=payments"`
		Empty   secret.Value[string] `keyrotor:"env=EMPTY,key=payments"`
		Number  secret.Value[int]    `keyrotor:"env=NUMBER,key=payments"`
		Nested  struct {
			Foreign secret.Value[string] `keyrotor:"env=FOREIGN"`
			Number  secret.Value[int]    `keyrotor:"env=NUMBER_TOKEN"`
		}
		UnknownKey secret.Value[string] `keyrotor:"env=UNKNOWN_KEY,key=nobody"`
		BadToken   secret.Value[string] `keyrotor:"env=BAD_TOKEN"`
		OtherKey   secret.Value[string] `keyrotor:"env=OTHER_KEY,key=orders"`
		Keyless    secret.Value[string] `keyrotor:"env=KEYLESS"`
		NoFile     secret.Value[string] `keyrotor:"file=nowhere/x,key=payments"`
		EmptyFile  secret.Value[string] `keyrotor:"file=empty,key=payments"`
		Large      secret.Value[string] `keyrotor:"file=large,key=payments"`
		Folder     secret.Value[string] `keyrotor:"file=folder,key=payments"`
		OddName    secret.Value[string] `keyrotor:"file=odd name,key=payments"`
	}
	values, err := secret.Load(t.Context(), k, &s, secret.LoadOptions{Unset: true})
	if err == nil || values != nil {
		t.Fatal("it loads")
	}
	want := []string{
		"field Missing: env MISSING: is not set",
		"field Empty: env EMPTY: is empty",
		"field Number: env NUMBER: has no encoding: it does not hold JSON for the type int",
		"field Nested.Foreign: env FOREIGN: authentication failed: the ciphertext was altered, its AAD differs, or it is another store's (it is opened with its name as AAD: FOREIGN)",
		"field Nested.Number: env NUMBER_TOKEN: has no encoding: it does not hold JSON for the type int",
		"field UnknownKey: env UNKNOWN_KEY: unknown key: \"nobody\"; `keyrotor key list` shows the keys of this store",
		"field BadToken: env BAD_TOKEN: malformed ciphertext: no key name after \"keyrotor:\"",
		`field OtherKey: env OTHER_KEY: the token is of key "payments", and key "orders" is meant`,
		"field Keyless: env KEYLESS: it is to be encrypted, which takes a cipher and the name of a key",
		"field NoFile: file nowhere/x: does not exist",
		"field EmptyFile: file empty: is empty",
		"field Large: file large: has more than 1048576 bytes: that is no setting",
		"field Folder: file folder: is a directory",
		`field OddName: file odd name: not a name for a secret value: "odd name" has ' ' at byte 3: use letters, digits and ._-/:@+`,
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, leak := range secrets.Found([]byte(err.Error()), map[string][]byte{"a value": []byte(planted)}) {
		t.Error(leak)
	}
	var field *secret.FieldError
	if !errors.As(err, &field) || field.Field != "Missing" || field.Source != "env MISSING" {
		t.Errorf("the first field is %+v", field)
	}
	if s.Good.Name() != "" {
		t.Error("a field was filled all the same")
	}
	if v := os.Getenv("GOOD"); v != planted {
		t.Errorf("the environment was changed: %q", v)
	}
}

// TestLoadStruct: what is wrong with the struct itself, before any source is read.
func TestLoadStruct(t *testing.T) {
	k := newKeys(t)
	type inner struct {
		V secret.Value[string] `keyrotor:"env=V"`
	}
	for _, c := range []struct {
		into any
		want string
	}{
		{nil, "secret: load into a <nil>: it takes a pointer to a struct"},
		{inner{}, "secret: load into a secret_test.inner: it takes a pointer to a struct"},
		{(*inner)(nil), "secret: load into a *secret_test.inner: it takes a pointer to a struct"},
		{new(int), "secret: load into a *int: it takes a pointer to a struct"},
		{&struct{ A string }{}, "secret: load into a *struct { A string }: it has no field with a keyrotor tag"},
		{&struct {
			A secret.Value[string] `keyrotor:"env=A,handeling=mask"`
			B struct {
				C secret.Value[string] `keyrotor:"env=C,file=c"`
			}
		}{}, "field A: tag keyrotor: unknown option \"handeling\": did you mean \"handling\"?\nfield B.C: tag keyrotor: it has both env and file: a value has one source"},
		{&struct{ A secret.Value[string] }{}, "field A: it has no keyrotor tag: say where it comes from, as in `keyrotor:\"env=NAME\"`, or leave it to others by `keyrotor:\"-\"`"},
		{&struct {
			A secret.Value[string] `keyrotor:"key=payments"`
		}{}, "field A: tag keyrotor: it has no source: env=NAME or file=PATH"},
		{&struct {
			A string `keyrotor:"env=A"`
		}{}, "field A: it has a keyrotor tag and is a string: only a secret.Value has one"},
		{&struct {
			a secret.Value[string] `keyrotor:"env=A"`
		}{}, "field a: it has a keyrotor tag and is not exported"},
		{&struct {
			A map[string]string `keyrotor:"prefix=A_"`
		}{}, "field A: it has a prefix and is a map[string]string: only a struct has one"},
		{&struct {
			A secret.Value[string] `keyrotor:"prefix=A_"`
		}{}, "field A: tag keyrotor: it has no source: env=NAME or file=PATH"},
		{&struct{ A, B inner }{}, `field B.V: it is called "V", and so is field A.V: give one of them another name by name=…`},
		{&struct{ *embedded }{}, "field embedded: it is embedded, nil and not exported: set it before"},
	} {
		if _, err := secret.Load(t.Context(), k, c.into, secret.LoadOptions{Key: "payments"}); err == nil || err.Error() != c.want {
			t.Errorf("%T:\n%v\nwant\n%s", c.into, err, c.want)
		}
	}
	if _, err := secret.Load(t.Context(), k, &inner{}, secret.LoadOptions{Handling: "x"}); err == nil || !strings.Contains(err.Error(), `no handling "x"`) {
		t.Errorf("a handling that there is not: %v", err)
	}
}

// TestLoadRecursive: a type that holds itself is entered where there is a value of it.
func TestLoadRecursive(t *testing.T) {
	type node struct {
		V    secret.Value[string] `keyrotor:"env=V"`
		Next *node
	}
	setenv(t, map[string]string{"V": "x"})
	var n node
	n.Next = &n
	values, err := secret.Load(t.Context(), newKeys(t), &n, secret.LoadOptions{Handling: secret.Mask})
	if err != nil || len(values) != 1 {
		t.Errorf("%d values, %v", len(values), err)
	}
}

// TestLoadPath: a file's name is its value's, whatever its folder.
func TestLoadPath(t *testing.T) {
	setenv(t, nil)
	if err := os.MkdirAll("run/secrets", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join("run", "secrets", "db"), "s3cret")
	var s struct {
		V secret.Value[string] `keyrotor:"file=run/secrets/db,handling=mask"`
	}
	if _, err := secret.Load(t.Context(), nil, &s, secret.LoadOptions{}); err != nil || s.V.Name() != "db" {
		t.Errorf("it is called %q, %v", s.V.Name(), err)
	}
}
