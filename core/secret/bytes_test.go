package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"
)

const planted = "correct horse battery staple"

type holder struct {
	Public  Bytes
	private Bytes
	Pointer *Bytes
	List    []Bytes
	Map     map[string]Bytes
	Any     any
}

type element struct{ S Bytes }

// TestNeverPrints formats a secret in every way that Go has, on its own and inside
// other values, exported or not.
func TestNeverPrints(t *testing.T) {
	s := FromString(planted)
	h := holder{s, s, &s, []Bytes{s}, map[string]Bytes{"k": s}, s}
	var out bytes.Buffer
	for _, v := range []any{s, &s, h, &h, []any{s, h}, map[string]any{"a": h}, errors.Join(fmt.Errorf("%v", s))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%t", "%08.3f"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("m", "secret", s, "holder", h, "pointer", &s)
	}
	if err := json.NewEncoder(&out).Encode(h); err != nil {
		t.Fatal(err)
	}
	if err := xml.NewEncoder(&out).Encode(element{s}); err != nil {
		t.Fatal(err)
	}
	if err := template.Must(template.New("").Parse("{{.}} {{.Public}} {{printf `%s` .Public}}")).Execute(&out, h); err != nil {
		t.Fatal(err)
	}
	if err := gob.NewEncoder(&out).Encode(s); err == nil {
		t.Error("gob encodes a secret")
	}
	if !strings.Contains(out.String(), Redacted) {
		t.Fatal("nothing was printed: the test looks at nothing")
	}
	hexed := fmt.Sprintf("%x", planted)
	decimals := strings.Trim(fmt.Sprintf("%d", []byte(planted)), "[]")
	for _, form := range []string{planted, "horse", hexed, strings.ToUpper(hexed), decimals, "Y29ycmVjdCBob3Jz", "0x63, 0x6f"} {
		if i := strings.Index(out.String(), form); i >= 0 {
			t.Errorf("the secret shows as %q near %q", form, out.String()[max(0, i-60):i])
		}
	}
}

func TestWipe(t *testing.T) {
	buf := []byte(planted)
	s := New(buf)
	shared, own := s, s.Clone()
	if string(s.Reveal()) != planted || s.Len() != len(planted) {
		t.Fatalf("holds %d bytes", s.Len())
	}
	s.Wipe()
	if !bytes.Equal(buf, make([]byte, len(planted))) {
		t.Error("the buffer still holds the secret")
	}
	if s.Reveal() != nil || shared.Reveal() != nil {
		t.Error("a copy outlived the wipe")
	}
	if string(own.Reveal()) != planted {
		t.Error("a clone was wiped with its origin")
	}
	s.Wipe()
	var zero Bytes
	zero.Wipe()
	if zero.Reveal() != nil || zero.Len() != 0 {
		t.Error("the zero value holds something")
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"x", "x", true}, {"x", "y", false}, {"x", "xx", false}, {"", "", true}} {
		if got := FromString(c.a).Equal(FromString(c.b)); got != c.want {
			t.Errorf("Equal(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func ExampleBytes() {
	password := FromString("hunter2")
	defer password.Wipe()
	fmt.Println("connecting with", password, "of", password.Len(), "bytes")
	// Output: connecting with [redacted] of 7 bytes
}
