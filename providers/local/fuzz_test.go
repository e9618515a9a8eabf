package local

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Whatever is in the file, reading it answers an error of ours or content that
// is written back to the same meaning.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"plain", "argon2id", "pbkdf2"} {
		data := golden(f, name)
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte(`{"format":"keyrotor-local-kek","version":2}`))
	f.Add([]byte(`{"format":"other"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, mac, err := decode(data)
		if err != nil {
			if _, ok := errors.AsType[*provider.Error](err); !ok {
				t.Fatalf("not one of our errors: %v", err)
			}
			return
		}
		if (c.Seal == nil) != (len(mac) == 0) {
			t.Fatalf("sealed and %d bytes of MAC", len(mac))
		}
		checkContent(t, c)
	})
}

// The checksum keeps FuzzDecode from what lies behind it, so this goes there.
func FuzzContent(f *testing.F) {
	for _, name := range []string{"plain", "argon2id", "pbkdf2"} {
		_, canonical, mac, err := decode(golden(f, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(canonical, len(mac))
	}
	f.Fuzz(func(t *testing.T, canonical []byte, macSize int) {
		if c, err := decodeContent(canonical, macSize); err == nil {
			checkContent(t, c)
		}
	})
}

// checkContent relies on an unsealed file having no MAC to keep.
func checkContent(t *testing.T, c *content) {
	t.Helper()
	if c.Seal != nil {
		return
	}
	data, err := encode(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, _, _, err := decode(data)
	if err != nil {
		t.Fatalf("written back: %v", err)
	}
	if !reflect.DeepEqual(again, c) {
		t.Fatalf("%+v became %+v", c, again)
	}
}

// No blob opens but the one that was made, and no blob breaks anything.
func FuzzUnwrap(f *testing.F) {
	path := filepath.Join(f.TempDir(), "kek.json")
	if err := os.WriteFile(path, golden(f, "plain"), 0o600); err != nil {
		f.Fatal(err)
	}
	m, err := openTest(path, "")
	if err != nil {
		f.Fatal(err)
	}
	// Not a new one: each of the fuzzer's processes runs these lines.
	made := goldenWraps(f, "plain")[1]
	w := provider.Wrapped{KEKID: made.KEKID, Blob: made.Blob}
	root, aad := made.Root, made.AAD
	f.Add(w.Blob, "3", aad)
	f.Add(w.Blob, "", aad)
	f.Add(w.Blob[:wrapSize-1], "1", []byte{})
	f.Add([]byte{1, 0, 0, 0, 2}, "2", aad)
	f.Add([]byte{}, "x", aad)
	f.Fuzz(func(t *testing.T, blob []byte, version string, withAAD []byte) {
		res, err := unwrapOne(t, m, provider.Wrapped{KEKID: w.KEKID, KEKVersion: version, Blob: blob}, withAAD)
		if err != nil {
			switch code := provider.CodeOf(err); code {
			case provider.Integrity, provider.NotFoundVersion, provider.InvalidArgument, provider.InvalidState:
			default:
				t.Fatalf("%s: %v", code, err)
			}
			return
		}
		if !bytes.Equal(blob, w.Blob) || !bytes.Equal(withAAD, aad) || !bytes.Equal(res.Plaintext.Reveal(), root) {
			t.Fatalf("a blob opened that nobody made: %x", blob)
		}
	})
}
