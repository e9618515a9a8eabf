package secrets_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/testing/secrets"
)

// TestFound: the search finds a secret in whatever way it shows, and names it.
func TestFound(t *testing.T) {
	key := draw(32)
	text := []byte(`hvs.A "quoted" <secret> & more/of+it`)
	around := func(b []byte) []byte { return slices.Concat([]byte("x"), b, []byte("yz")) }
	mixed := func(b []byte) string {
		h := []byte(hex.EncodeToString(b))
		for i := 0; i < len(h); i += 3 {
			h[i] = bytes.ToUpper(h[i : i+1])[0]
		}
		return string(h)
	}
	inJSON := func(v any) string {
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(encoded)
	}
	for _, planted := range [][]byte{key, text} {
		shown := map[string]string{
			"raw":          string(planted),
			"hex":          hex.EncodeToString(planted),
			"HEX":          strings.ToUpper(hex.EncodeToString(planted)),
			"hEx":          mixed(planted),
			"spaced hex":   fmt.Sprintf("% x", planted),
			"spaced HEX":   fmt.Sprintf("% X", planted),
			"colons":       strings.ReplaceAll(fmt.Sprintf("% x", planted), " ", ":"),
			"%v":           fmt.Sprintf("%v", planted),
			"%#v":          fmt.Sprintf("%#v", planted),
			"%q":           fmt.Sprintf("%q", planted),
			"%q in JSON":   inJSON(fmt.Sprintf("%q", planted)),
			"numbers":      inJSON(numbers(planted)),
			"words":        fmt.Sprint(words(planted)),
			"JSON bytes":   inJSON(planted),
			"its head":     string(planted[:len(planted)/2]),
			"its tail":     string(planted[len(planted)/2:]),
			"head of hex":  hex.EncodeToString(planted)[:len(planted)],
			"tail of hex":  strings.ToUpper(hex.EncodeToString(planted)[len(planted):]),
			"a cut base64": base64.StdEncoding.EncodeToString(planted)[:len(planted)],
		}
		if bytes.Equal(planted, text) {
			shown["query"] = url.QueryEscape(string(planted))
			shown["path"] = url.PathEscape(string(planted))
			shown["JSON text"] = inJSON(string(planted))
			shown["head of JSON text"] = inJSON(string(planted[:20]))
			shown["tail of a quote"] = fmt.Sprintf("%q", planted[16:])
		}
		for name, encoding := range map[string]*base64.Encoding{
			"base64": base64.StdEncoding, "raw base64": base64.RawStdEncoding,
			"base64url": base64.URLEncoding, "raw base64url": base64.RawURLEncoding,
		} {
			for before := range 3 {
				whole := append(bytes.Repeat([]byte{0xA5}, before), planted...)
				shown[fmt.Sprint(name, " after ", before)] = encoding.EncodeToString(whole)
				shown[fmt.Sprint(name, " within, after ", before)] = encoding.EncodeToString(append(whole, 0x5A, 0xA5))
			}
		}
		for name, as := range shown {
			found := secrets.Found(around([]byte(as)), map[string][]byte{"it": planted, "another": draw(32)})
			if len(found) == 0 {
				t.Errorf("%s is not found: %q", name, as)
			}
			for _, f := range found {
				if !strings.HasPrefix(f, "it shows as ") {
					t.Errorf("%s: %s", name, f)
				}
			}
		}
	}
	if found := secrets.Found(around(draw(1<<16)), map[string][]byte{"key": key, "text": text}); len(found) > 0 {
		t.Errorf("found where there is none: %q", found)
	}
}

// draw answers random bytes.
func draw(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

func numbers(b []byte) []int {
	list := make([]int, len(b))
	for i := range b {
		list[i] = int(b[i])
	}
	return list
}

// words are those that begin a key schedule.
func words(b []byte) [4]uint32 {
	var list [4]uint32
	for i := range list {
		list[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return list
}
