// Package secrets plants known secrets and looks for them in everything that comes
// out of Keyrotor: what its types print as, logs, errors, events, files, backups
// and the environments of its processes.
package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	htmltemplate "html/template"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"text/template"
	"unsafe"

	goccy "github.com/goccy/go-yaml"
	"gopkg.in/yaml.v3"

	"github.com/keyrotor/keyrotor/core/secret"
)

// Forms are the ways in which a secret could show: as it is, in the encodings that
// people use, and as Go prints bytes and the words of a key schedule. A half of
// it counts as well, since what is cut off still tells.
func Forms(planted []byte) []string {
	list := func(format string, items ...any) string {
		var b strings.Builder
		for i, item := range items {
			if i > 0 {
				b.WriteString(strings.TrimLeft(format, "%#xd"))
			}
			fmt.Fprintf(&b, strings.TrimRight(format, ", "), item)
		}
		return b.String()
	}
	var octets, words []any
	for _, b := range planted[:8] {
		octets = append(octets, b)
	}
	for i := 0; i+4 <= min(len(planted), 16); i += 4 {
		words = append(words, binary.BigEndian.Uint32(planted[i:]))
	}
	text := string(planted)
	quoted := fmt.Sprintf("%q", planted)
	quoted = quoted[1 : len(quoted)-1]
	forms := []string{
		fmt.Sprintf("% x", planted), strings.ReplaceAll(fmt.Sprintf("% x", planted), " ", ":"),
		list("%d ", octets...), list("%d, ", octets...), list("%#x, ", octets...), list("%d,", octets...),
		list("%d ", words...), list("%#x, ", words...),
	}
	for _, whole := range append(inBase64(planted),
		text, quoted, inJSON(text), inJSON(quoted), url.QueryEscape(text), url.PathEscape(text), hex.EncodeToString(planted)) {
		forms = append(forms, whole, whole[:len(whole)/2], whole[len(whole)/2:])
	}
	return forms
}

// inJSON is the inner part of a string in JSON, in which < and & are escaped.
func inJSON(text string) string {
	encoded, _ := json.Marshal(text) //nolint:errchkjson // a string has an encoding
	return string(encoded[1 : len(encoded)-1])
}

// inBase64 is the part whose encoding does not depend on what stands around it, in
// both alphabets and wherever the secret begins in what was encoded as a whole.
func inBase64(planted []byte) []string {
	var forms []string
	for shift := range 3 {
		inner := planted[shift : shift+(len(planted)-shift)/3*3]
		forms = append(forms, base64.StdEncoding.EncodeToString(inner), base64.URLEncoding.EncodeToString(inner))
	}
	return forms
}

// Found lists the forms of the planted secrets that stand in what came out, each
// with what surrounds it. The case of letters does not matter.
func Found(out []byte, planted map[string][]byte) []string {
	folded := fold(out)
	var found []string
	for name, p := range planted {
		for _, form := range Forms(p) {
			if i := bytes.Index(folded, fold([]byte(form))); i >= 0 {
				from, to := max(0, i-80), min(len(out), i+len(form)+20)
				found = append(found, fmt.Sprintf("%s shows as %.40q in %q", name, form, out[from:to]))
			}
		}
	}
	return found
}

// fold puts ASCII letters in lower case, and leaves every byte where it is.
func fold(text []byte) []byte {
	folded := bytes.Clone(text)
	for i, b := range folded {
		if 'A' <= b && b <= 'Z' {
			folded[i] = b + 'a' - 'A'
		}
	}
	return folded
}

// Printed is a value in every way that a program prints one by accident.
func Printed(v any) []byte {
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", v)
		fmt.Fprintf(&out, verb+"\n", []any{v})
		fmt.Fprintf(&out, verb+"\n", struct{ x any }{v})
		fmt.Fprintln(&out, fmt.Errorf("failed: "+verb, v))
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("value", "v", v)
	}
	for _, marshal := range marshallers {
		marshalled(&out, marshal, v)
	}
	return out.Bytes()
}

// marshallers are the ways of turning a value into text or bytes that programs have.
var marshallers = []func(w io.Writer, v any) error{
	func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
	func(w io.Writer, v any) error { return xml.NewEncoder(w).Encode(v) },
	func(w io.Writer, v any) error { return gob.NewEncoder(w).Encode(v) },
	func(w io.Writer, v any) error { return yaml.NewEncoder(w).Encode(v) },
	func(w io.Writer, v any) error { return goccy.NewEncoder(w).Encode(v) },
	func(w io.Writer, v any) error {
		return template.Must(template.New("").Parse("{{.}} {{print .}} {{printf `%#v %x` . .}} {{html .}}")).Execute(w, v)
	},
	func(w io.Writer, v any) error {
		return htmltemplate.Must(htmltemplate.New("").Parse("<a x='{{.}}'>{{.}}</a><script>var x = {{.}}</script>")).Execute(w, v)
	},
}

// marshalled adds what a marshaller writes, and what it says of what it cannot. Some
// panic on what has no form for them, such as a function.
func marshalled(out *bytes.Buffer, marshal func(io.Writer, any) error, v any) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintln(out, p)
		}
	}()
	if err := marshal(out, v); err != nil {
		fmt.Fprintln(out, err)
	}
}

// Report prints one line for each value that shows the secret which is planted in
// it, and answers in how many of them there was room for one.
func Report(w io.Writer, values map[string]any, planted []byte) (rooms int, err error) {
	for name, v := range values {
		if !plant(reflect.ValueOf(v).Elem(), planted, 0) {
			if strings.Contains(name, "[") { // which is what type parameters are for here
				return rooms, fmt.Errorf("%s has no room for a secret: teach plant to find it", name)
			}
			continue
		}
		rooms++
		for _, value := range []any{v, reflect.ValueOf(v).Elem().Interface()} {
			for _, found := range Found(Printed(value), map[string][]byte{name: planted}) {
				if _, err := fmt.Fprintln(w, found); err != nil {
					return rooms, err
				}
			}
		}
	}
	return rooms, nil
}

// deepest bounds how far plant goes into types that hold one another.
const deepest = 6

var secretType = reflect.TypeFor[secret.Bytes]()

// plant puts the secret wherever a value has room for one, unexported fields
// included, and reports whether it found a place.
func plant(v reflect.Value, planted []byte, depth int) bool {
	if depth > deepest {
		return false
	}
	if !v.CanSet() && v.CanAddr() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	if v.Type() == secretType {
		v.Set(reflect.ValueOf(secret.New(bytes.Clone(planted))))
		return true
	}
	if v.CanAddr() && plantValue(v.Addr().Interface(), planted) {
		return true
	}
	switch v.Kind() {
	case reflect.Struct:
		found := false
		for _, field := range v.Fields() {
			found = plant(field, planted, depth+1) || found
		}
		return found
	case reflect.Pointer:
		return replace(v, reflect.New(v.Type().Elem()), planted, depth)
	case reflect.Slice:
		filled := reflect.MakeSlice(v.Type(), 1, 1)
		if !plant(filled.Index(0), planted, depth+1) {
			return false
		}
		v.Set(filled)
		return true
	case reflect.Map:
		return plantMap(v, planted, depth)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			return false
		}
		v.Set(reflect.ValueOf(secret.New(bytes.Clone(planted))))
		return true
	default:
		return false
	}
}

// plantValue makes a secret value of the secret, in a type that is made for one. It is
// not encrypted, so that what it holds is what must not show.
func plantValue(v any, planted []byte) bool {
	o := secret.Options{Name: "planted", Handling: secret.Mask}
	var err error
	switch v := v.(type) {
	case *secret.Value[string]:
		*v, err = secret.NewValue(context.Background(), nil, string(planted), o)
	case *secret.Value[[]byte]:
		*v, err = secret.NewValue(context.Background(), nil, bytes.Clone(planted), o)
	default:
		return false
	}
	return err == nil
}

func replace(v, fresh reflect.Value, planted []byte, depth int) bool {
	if !plant(fresh.Elem(), planted, depth+1) {
		return false
	}
	v.Set(fresh)
	return true
}

func plantMap(v reflect.Value, planted []byte, depth int) bool {
	value := reflect.New(v.Type().Elem())
	if !plant(value.Elem(), planted, depth+1) {
		return false
	}
	filled := reflect.MakeMap(v.Type())
	filled.SetMapIndex(reflect.Zero(v.Type().Key()), value.Elem())
	v.Set(filled)
	return true
}
