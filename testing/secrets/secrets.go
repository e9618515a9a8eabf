// Package secrets plants known secrets and looks for them in everything that comes
// out of Keyrotor: what its types print as, logs, errors, events, files, backups
// and the environments of its processes.
package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"unsafe"

	"github.com/keyrotor/keyrotor/core/secret"
)

// Forms are the ways in which a secret could show: as it is, in the encodings that
// people use, and as Go prints bytes and the words of a key schedule.
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
	quoted := fmt.Sprintf("%q", planted)
	return []string{
		string(planted), quoted[1 : len(quoted)-1],
		hex.EncodeToString(planted), strings.ToUpper(hex.EncodeToString(planted)),
		// The inner part, whose encoding does not depend on what stands around it.
		strings.TrimRight(base64.StdEncoding.EncodeToString(planted[:len(planted)/3*3]), "="),
		strings.TrimRight(base64.URLEncoding.EncodeToString(planted[:len(planted)/3*3]), "="),
		list("%d ", octets...), list("%d, ", octets...), list("%#x, ", octets...), list("%d,", octets...),
		list("%d ", words...), list("%#x, ", words...),
	}
}

// Found lists the forms of the planted secrets that stand in what came out, each
// with what surrounds it.
func Found(out []byte, planted map[string][]byte) []string {
	var found []string
	for name, p := range planted {
		for _, form := range Forms(p) {
			if i := bytes.Index(out, []byte(form)); i >= 0 {
				from, to := max(0, i-80), min(len(out), i+len(form)+20)
				found = append(found, fmt.Sprintf("%s shows as %.40q in %q", name, form, out[from:to]))
			}
		}
	}
	return found
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
	if b, err := json.Marshal(v); err == nil {
		out.Write(b)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("value", "v", v)
	}
	return out.Bytes()
}

// Report prints one line for each value that shows the secret which is planted in
// it, and answers in how many of them there was room for one.
func Report(w io.Writer, values map[string]any, planted []byte) (rooms int, err error) {
	for name, v := range values {
		if !plant(reflect.ValueOf(v).Elem(), planted, 0) {
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
