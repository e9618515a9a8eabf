package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	goccy "github.com/goccy/go-yaml"
	"gopkg.in/yaml.v3"

	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/testing/secrets"
)

// planted is what must not show, in whatever form.
const planted = "correct horse battery staple"

// settings has values wherever a struct can have one.
type settings[T any] struct {
	Public  secret.Value[T]
	private secret.Value[T]
	Pointer *secret.Value[T]
	List    []secret.Value[T]
	Array   [1]secret.Value[T]
	Map     map[string]secret.Value[T]
	Nested  struct{ private, Public secret.Value[T] }
	Any     any
	any     any
}

func settingsOf[T any](v secret.Value[T]) settings[T] {
	return settings[T]{
		Public: v, private: v, Pointer: &v, List: []secret.Value[T]{v}, Array: [1]secret.Value[T]{v},
		Map: map[string]secret.Value[T]{"k": v}, Nested: struct{ private, Public secret.Value[T] }{v, v}, Any: v, any: v,
	}
}

// marked has values where XML has elements and attributes.
type marked[T any] struct {
	Attr    secret.Value[T]   `xml:"attr,attr"`
	Element secret.Value[T]   `xml:"element"`
	Text    secret.Value[T]   `xml:",chardata"`
	Pointer *secret.Value[T]  `xml:"pointer"`
	List    []secret.Value[T] `xml:"list>item"`
}

// shown prints and marshals a value in every way. What has no form in one of them ends
// in an error there, which is printed, too.
func shown[T any](t *testing.T, v secret.Value[T]) []byte {
	t.Helper()
	var out bytes.Buffer
	s := settingsOf(v)
	for _, x := range []any{v, &v, s, &s, []any{v, s}, map[string]any{"a": s}, [1]secret.Value[T]{v}, struct{ x any }{&v}, errors.Join(fmt.Errorf("%v %s", v, v))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%T", "%p", "%t", "%08.3f", "%c", "%U", "%b", "%w"} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
		fmt.Fprintln(&out, x)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("m", "value", x, slog.Group("g", "value", x))
		}
	}
	wantShown := func(how string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", how, err)
		}
	}
	wantShown("JSON", json.NewEncoder(&out).Encode(s))
	wantShown("YAML", yaml.NewEncoder(&out).Encode(s))
	wantShown("YAML of a value", yaml.NewEncoder(&out).Encode(v))
	wantShown("goccy's YAML", goccy.NewEncoder(&out).Encode(s))
	wantShown("goccy's YAML of a value", goccy.NewEncoder(&out).Encode(v))
	wantShown("XML", xml.NewEncoder(&out).EncodeElement(marked[T]{v, v, v, &v, []secret.Value[T]{v}}, xml.StartElement{Name: xml.Name{Local: "m"}}))
	const page = "{{.}} {{.Public}} {{.Pointer}} {{range .List}}{{.}}{{end}} {{.Map.k}} {{printf `%#v %s` . .Public}} {{print .Any}} {{html .Public}} {{js .Public}}"
	wantShown("a template", template.Must(template.New("").Parse(page)).Execute(&out, s))
	wantShown("an HTML template", htmltemplate.Must(htmltemplate.New("").Parse("<a x='{{.Public}}'>{{.}}</a><script>var x = {{.Public}}</script>")).Execute(&out, s))
	for _, x := range []any{v, &v, struct{ X secret.Value[T] }{v}} {
		if err := gob.NewEncoder(&out).Encode(x); err == nil {
			t.Error("gob encodes a secret")
		} else {
			fmt.Fprintln(&out, err)
		}
	}
	return out.Bytes()
}

// checkRedaction looks for the secret and for its ciphertext in what is shown.
func checkRedaction[T any](t *testing.T, k *keys, v T) {
	t.Helper()
	for _, h := range secret.Handlings() {
		held := value(t, k, v, secret.Options{Name: "it", Key: "payments", Handling: h})
		hidden := map[string][]byte{"the secret": []byte(planted)}
		if h != secret.Mask {
			token, err := held.Ciphertext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			hidden["the token"] = token[len("keyrotor:payments:v1:"):]
		}
		out := shown(t, held)
		for _, leak := range secrets.Found(out, hidden) {
			t.Errorf("%T, %s: %s", v, h, leak)
		}
		if n := bytes.Count(out, []byte(secret.Redacted)); n < 300 {
			t.Errorf("%T, %s: shown %d times: the test looks at little", v, h, n)
		}
	}
}

// TestValueNeverPrints: whatever the type and the handling.
func TestValueNeverPrints(t *testing.T) {
	k := newKeys(t)
	checkRedaction(t, k, planted)
	checkRedaction(t, k, []byte(planted))
	checkRedaction(t, k, password(planted))
	checkRedaction(t, k, pem(planted))
	checkRedaction(t, k, login{User: "u", Password: planted})
	checkRedaction(t, k, &login{Password: planted})
	checkRedaction(t, k, map[string]string{planted: planted})
	checkRedaction[any](t, k, planted)
}

// reached writes every string and every run of bytes that reflection gets to, through
// pointers and fields that are not exported, as the printers of test frameworks do.
func reached(out *bytes.Buffer, v reflect.Value, seen map[any]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		at := struct {
			t reflect.Type
			p uintptr
		}{v.Type(), v.Pointer()}
		if seen[at] {
			return
		}
		seen[at] = true
		reached(out, v.Elem(), seen)
	case reflect.Interface:
		reached(out, v.Elem(), seen)
	case reflect.Struct:
		for _, field := range v.Fields() {
			reached(out, field, seen)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(out, "%s\n", v)
			return
		}
		for i := range v.Len() {
			reached(out, v.Index(i), seen)
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			reached(out, key, seen)
			reached(out, value, seen)
		}
	case reflect.String:
		fmt.Fprintln(out, v)
	default: // nothing that holds text
	}
}

// TestReflectionEndsAtAValue: who looks into a value, or into the report of a rotation,
// finds nothing that it holds.
func TestReflectionEndsAtAValue(t *testing.T) {
	k := newKeys(t)
	for _, h := range secret.Handlings() {
		held := value(t, k, planted, secret.Options{Name: "it", Key: "payments", Handling: h})
		report, err := secret.Rotate(t.Context(), k, []secret.Rotatable{held}, secret.RotateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := settingsOf(held)
		var out bytes.Buffer
		for _, x := range []any{held, &held, s, &s, report, struct{ shows string }{"reached"}} {
			reached(&out, reflect.ValueOf(x), make(map[any]bool))
		}
		if !strings.Contains(out.String(), "reached") {
			t.Fatal("the test looks at nothing")
		}
		for _, leak := range secrets.Found(out.Bytes(), map[string][]byte{"the secret": []byte(planted)}) {
			t.Errorf("%s: %s", h, leak)
		}
	}
}

// TestErrorsNameTheValueOnly: what fails says which value, and nothing of it.
func TestErrorsNameTheValueOnly(t *testing.T) {
	k := newKeys(t)
	var said bytes.Buffer
	note := func(err error) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), `secret value "it": `) {
			t.Errorf("%v", err)
		}
		fmt.Fprintf(&said, "%v %+v %#v\n", err, err, err)
	}
	_, err := secret.NewValue(t.Context(), k, planted, secret.Options{Name: "it", Key: planted})
	if err == nil {
		t.Error("a key of that name")
	}
	v := value(t, k, `"`+planted+`"`, secret.Options{Name: "it", Key: "payments"})
	token, err := v.Ciphertext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	number, err := secret.FromToken[int](t.Context(), k, token, secret.Options{Name: "it"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = number.Get(t.Context())
	note(err)
	note(number.Use(t.Context(), func(int) error { return nil }))
	altered := bytes.Clone(token)
	altered[len(altered)-10] ^= 3
	broken, err := secret.FromToken[string](t.Context(), k, altered, secret.Options{Name: "it"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = broken.Get(t.Context())
	note(err)
	note(broken.Use(t.Context(), func(string) error { return nil }))
	_, err = broken.Equal(t.Context(), v)
	note(err)
	k.rotate(t, "payments")
	report, err := secret.Rotate(t.Context(), k, []secret.Rotatable{broken}, secret.RotateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	note(report.Outcome(0).Err)
	fmt.Fprintf(&said, "%+v %#v", report, report)
	for _, leak := range secrets.Found(said.Bytes(), map[string][]byte{"the secret": []byte(planted)}) {
		t.Error(leak)
	}
}

// TestNotReadBack: what was printed is not taken for a secret.
func TestNotReadBack(t *testing.T) {
	var v struct{ V secret.Value[string] }
	if err := json.Unmarshal([]byte(`{"V":"[redacted]"}`), &v); err == nil {
		t.Error("JSON is read into a secret")
	}
	if err := yaml.Unmarshal([]byte(`v: "[redacted]"`), &v); err == nil {
		t.Error("YAML is read into a secret")
	}
}
