package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

// someRoot is 32 bytes whose base64 has both characters in which the alphabets differ.
func someRoot() []byte {
	b := []byte{0xfb, 0xef, 0xff}
	for i := range RootSize - len(b) {
		b = append(b, byte(7*i))
	}
	return b
}

func TestParseRoot(t *testing.T) {
	raw := someRoot()
	std, url := base64.StdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw)
	digits := hex.EncodeToString(raw)
	if !strings.ContainsAny(std, "+/") || len(std) != 44 || len(digits) != 64 {
		t.Fatalf("no good for this test: %s", std)
	}
	text := []Form{FormAuto, FormBase64}
	for name, c := range map[string]struct {
		input string
		by    []Form
	}{
		"raw":                  {string(raw), []Form{FormAuto, FormRaw}},
		"raw and a newline":    {string(raw) + "\n", nil},
		"raw, printable":       {"0123456789abcdefghijklmnopqrstuv", []Form{FormRaw}},
		"hex of 16 bytes":      {digits[:32], []Form{FormRaw}},
		"printable, line feed": {digits[:32] + "\n", nil},
		"31 and a line feed":   {digits[:31] + "\n", []Form{FormRaw}},
		"hex":                  {digits, []Form{FormAuto, FormHex}},
		"HEX":                  {strings.ToUpper(digits), []Form{FormAuto, FormHex}},
		"hex, line feed":       {digits + "\n", []Form{FormAuto, FormHex}},
		"hex, CRLF":            {digits + "\r\n", []Form{FormAuto, FormHex}},
		"hex, two lines":       {digits + "\n\n", nil},
		"hex, a space":         {digits + " ", nil},
		"hex, 63":              {digits[1:], nil},
		"hex, no digit":        {"g" + digits[1:], nil},
		"base64":               {std, text},
		"base64, url":          {url, text},
		"base64, no padding":   {strings.TrimRight(std, "="), text},
		"url, no padding":      {strings.TrimRight(url, "="), text},
		"base64, line feed":    {std + "\n", text},
		"base64, alphabets":    {strings.Replace(std, "/", "_", 1), nil},
		"base64, inner break":  {std[:20] + "\n" + std[20:43], nil},
		"base64, break within": {std[:20] + "\n" + std[20:], nil},
		"base64, loose bits":   {std[:42] + "B=", nil},
		"base64, = within":     {std[:20] + "=" + std[21:], nil},
		"base64 of 33 bytes":   {base64.StdEncoding.EncodeToString(append(raw, 1)), nil},
		"nothing":              {"", nil},
		"a newline":            {"\n", nil},
		"31 bytes":             {string(raw[1:]), nil},
		"64 bytes":             {string(raw) + string(raw), nil},
	} {
		for _, form := range append(Forms(), "pem") {
			input := []byte(c.input)
			root, err := ParseRoot(form, input)
			if string(input) != c.input {
				t.Errorf("%s as %s: the input was changed", name, form)
			}
			if !slices.Contains(c.by, form) {
				if !errors.Is(err, ErrMaterial) || root.Len() != 0 {
					t.Errorf("%s as %s: a root of %d bytes, %v", name, form, root.Len(), err)
				}
				if len(c.input) > 8 && strings.Contains(err.Error(), strings.TrimSpace(c.input)[:8]) {
					t.Errorf("%s as %s: the error shows the key: %v", name, form, err)
				}
				continue
			}
			want := raw
			if len(c.input) == RootSize {
				want = []byte(c.input)
			}
			if err != nil || !bytes.Equal(root.Reveal(), want) {
				t.Errorf("%s as %s: %x, %v", name, form, root.Reveal(), err)
			}
		}
	}
}

// TestParseRootCopies: wiping the input leaves the root as it is.
func TestParseRootCopies(t *testing.T) {
	input := someRoot()
	root, err := ParseRoot(FormRaw, input)
	if err != nil {
		t.Fatal(err)
	}
	clear(input)
	if !bytes.Equal(root.Reveal(), someRoot()) {
		t.Error("the root went with the input")
	}
}

func TestRootCheck(t *testing.T) {
	few := make([]byte, RootSize)
	for i := range few {
		few[i] = byte(i * i % 7) // no period of 16
	}
	for name, c := range map[string]struct {
		root []byte
		want error
	}{
		"drawn":         {GenerateRoot().Reveal(), nil},
		"counted":       {someRoot(), nil},
		"zeros":         {make([]byte, RootSize), ErrWeak},
		"ones":          {bytes.Repeat([]byte{0xff}, RootSize), ErrWeak},
		"pattern":       {bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 8), ErrWeak},
		"few values":    {few, ErrWeak},
		"doubled":       {slices.Concat(someRoot()[:16], someRoot()[:16]), ErrWeak},
		"almost double": {slices.Concat(someRoot()[:16], someRoot()[:15], []byte{1}), nil},
	} {
		root, err := NewRoot(c.root)
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// FuzzParseRoot: what is read in one form is written by nobody in another, and
// comes out as it went in.
func FuzzParseRoot(f *testing.F) {
	raw := someRoot()
	f.Add(raw)
	f.Add([]byte(hex.EncodeToString(raw) + "\n"))
	f.Add([]byte(base64.StdEncoding.EncodeToString(raw)))
	f.Add([]byte(base64.RawURLEncoding.EncodeToString(raw) + "\r\n"))
	f.Add([]byte("correct horse battery staple"))
	f.Fuzz(func(t *testing.T, input []byte) {
		root, err := ParseRoot(FormAuto, input)
		if err != nil {
			if !errors.Is(err, ErrMaterial) {
				t.Fatal(err)
			}
			return
		}
		b, line := root.Reveal(), string(TrimLine(input))
		written := []string{
			hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b), base64.RawStdEncoding.EncodeToString(b),
			base64.URLEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b),
		}
		if len(line) == len(written[0]) {
			line = strings.ToLower(line)
		}
		if string(b) != string(input) && !slices.Contains(written, line) {
			t.Errorf("%q became %x", input, b)
		}
	})
}
