package keyring

import (
	"crypto/fips140"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/secret"
)

// goldenKDF is a function with what it makes of goldenPassphrase, and what a
// creation event says of it.
type goldenKDF struct {
	Root    string            `json:"root"`
	Details map[string]string `json:"details"`
}

const goldenPassphrase = "correct horse battery staple"

// TestGoldenKDF: a version that was made from a passphrase can be made again from
// it and its creation event. The root of PBKDF2 is Python's, too.
func TestGoldenKDF(t *testing.T) {
	salt := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for file, k := range map[string]KDF{
		"kdf-argon2id.json": {Name: KDFArgon2id, Salt: salt, Time: 3, Memory: 64 << 10, Threads: 4},
		"kdf-pbkdf2.json":   {Name: KDFPBKDF2, Salt: salt, Iterations: 600_000},
	} {
		root, err := k.Root(secret.FromString(goldenPassphrase))
		if fips140.Enabled() && k.Name == KDFArgon2id {
			if !errors.Is(err, ErrFIPS) {
				t.Errorf("%s: %v, want ErrFIPS", file, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got := goldenKDF{hex.EncodeToString(root.Reveal()), k.Details()}
		path := filepath.Join("testdata", file)
		if *update {
			out, err := json.MarshalIndent(got, "", "  ")
			if err := errors.Join(err, os.WriteFile(path, append(out, '\n'), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		var want goldenKDF
		readJSON(t, path, &want)
		if got.Root != want.Root || !maps.Equal(got.Details, want.Details) {
			t.Errorf("%s: %+v, want %+v", file, got, want)
		}
	}
}

func TestKDFRoot(t *testing.T) {
	cheap := KDF{Name: KDFPBKDF2, Iterations: 1}
	for name, c := range map[string]struct {
		kdf        KDF
		passphrase string
		want       error
	}{
		"short":     {cheap, "eleven byte", ErrWeak},
		"empty":     {cheap, "", ErrWeak},
		"least":     {cheap, "twelve bytes", nil},
		"longest":   {cheap, strings.Repeat("x", MaxPassphrase), nil},
		"too long":  {cheap, strings.Repeat("x", MaxPassphrase+1), ErrMaterial},
		"no such":   {KDF{Name: "md5"}, "twelve bytes", ErrMaterial},
		"zero":      {KDF{}, "twelve bytes", ErrMaterial},
		"no rounds": {KDF{Name: KDFPBKDF2}, "twelve bytes", ErrMaterial},
		"no passes": {KDF{Name: KDFArgon2id, Memory: 8, Threads: 1}, "twelve bytes", ErrMaterial},
		"no lanes":  {KDF{Name: KDFArgon2id, Memory: 8, Time: 1}, "twelve bytes", ErrMaterial},
	} {
		passphrase := secret.FromString(c.passphrase)
		root, err := c.kdf.Root(passphrase)
		switch {
		case c.want == nil && (err != nil || root.Len() != RootSize):
			t.Errorf("%s: %d bytes, %v", name, root.Len(), err)
		case c.want != nil && !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %v", name, err, c.want)
		case err != nil && len(c.passphrase) > 0 && strings.Contains(err.Error(), c.passphrase):
			t.Errorf("%s: the error shows the passphrase: %v", name, err)
		}
		if string(passphrase.Reveal()) != c.passphrase {
			t.Errorf("%s: the passphrase was changed", name)
		}
	}
}

// TestParseKDF: what stands in a creation event makes the root again.
func TestParseKDF(t *testing.T) {
	for _, k := range []KDF{NewKDF(), {Name: KDFPBKDF2, Salt: [16]byte{7}, Iterations: 600_000}} {
		if got, err := ParseKDF(k.Details()); err != nil || got != k {
			t.Errorf("%+v came back as %+v, %v", k, got, err)
		}
	}
	good := KDF{Name: KDFArgon2id, Time: 3, Memory: 64 << 10, Threads: 4}.Details()
	for name, change := range map[string]func(map[string]string){
		"no function":    func(d map[string]string) { delete(d, "kdf") },
		"no salt":        func(d map[string]string) { delete(d, "kdf.salt") },
		"short salt":     func(d map[string]string) { d["kdf.salt"] = "00" },
		"no number":      func(d map[string]string) { d["kdf.time"] = "three" },
		"too many lanes": func(d map[string]string) { d["kdf.threads"] = "256" },
		"a terabyte":     func(d map[string]string) { d["kdf.memory_kib"] = "1073741824" },
		"for ever":       func(d map[string]string) { d["kdf.iterations"] = "4294967295" },
	} {
		details := maps.Clone(good)
		change(details)
		if k, err := ParseKDF(details); !errors.Is(err, ErrMaterial) || k != (KDF{}) {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
}

func FuzzParseKDF(f *testing.F) {
	f.Add("argon2id", "000102030405060708090a0b0c0d0e0f", "3", "65536", "4", "")
	f.Add("pbkdf2-hmac-sha256", "000102030405060708090a0b0c0d0e0f", "", "", "", "600000")
	f.Fuzz(func(t *testing.T, name, salt, passes, memory, threads, iterations string) {
		k, err := ParseKDF(map[string]string{
			"kdf": name, "kdf.salt": salt, "kdf.time": passes, "kdf.memory_kib": memory, "kdf.threads": threads, "kdf.iterations": iterations,
		})
		if err != nil {
			return
		}
		if again, err := ParseKDF(k.Details()); err != nil || again != k {
			t.Errorf("%+v came back as %+v, %v", k, again, err)
		}
	})
}

func TestNewKDF(t *testing.T) {
	a, b := NewKDF(), NewKDF()
	if a.Salt == b.Salt || a.Salt == [16]byte{} {
		t.Errorf("salts %x and %x", a.Salt, b.Salt)
	}
	a.Salt = [16]byte{}
	if want := (KDF{Name: KDFArgon2id, Time: 3, Memory: 65536, Threads: 4}); !fips140.Enabled() && a != want {
		t.Errorf("the function is %+v, want %+v", a, want)
	}
}

// TestKDFInFIPSMode runs itself again where any algorithm that is not approved
// fails.
func TestKDFInFIPSMode(t *testing.T) {
	if !fips140.Enabled() {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKDFInFIPSMode$", "-test.v")
		child.Env = append(os.Environ(), "GODEBUG=fips140=only")
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestKDFInFIPSMode") {
			t.Errorf("in FIPS mode: %v\n%s", err, out)
		}
		return
	}
	k := NewKDF()
	if k.Name != KDFPBKDF2 || k.Iterations != 600_000 || k.Time != 0 {
		t.Errorf("the function is %+v", k)
	}
	if root, err := k.Root(secret.FromString(goldenPassphrase)); err != nil || root.Len() != RootSize {
		t.Errorf("%d bytes, %v", root.Len(), err)
	}
	argon := KDF{Name: KDFArgon2id, Time: 1, Memory: 8, Threads: 1}
	if _, err := argon.Root(secret.FromString(goldenPassphrase)); !errors.Is(err, ErrFIPS) {
		t.Errorf("Argon2id: %v", err)
	}
}
