package config

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keyrotor/keyrotor/core/provider"
)

// FuzzParse reads any bytes as a config in both forms, and decodes what providers
// it finds. Nothing may panic, and every problem must be at a place in the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte(wholeHCL))
	f.Add([]byte(wholeJSON))
	f.Add([]byte(rotationHCL + base))
	f.Add([]byte(openTop + rotationJSON))
	f.Add([]byte(notifyHCL + base))
	f.Add([]byte(openTop + notifyJSON))
	f.Add([]byte("a = \"%{if true}\n"))
	f.Add([]byte("{\"a\": \"\\ud800\"}"))
	f.Add([]byte("{\"provider\": {\"x\": {\"y\": [null, {\"address\": \"a\\nb${\"}]}}}"))
	f.Add([]byte("provider \"x\" \"y\" {\n  address = <<EOT\n${env(\"A\")}"))
	for _, test := range slices.Concat(badHCL, badRotation, badServe, badHistory, badNotify) {
		f.Add([]byte(test.text + base))
	}
	schema := transit()
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) || len(data) > maxSource {
			t.Skip("refused before it is parsed")
		}
		for _, name := range []string{"k.hcl", "k.json"} {
			file := &File{Dir: dir}
			err := file.build(name, []source{{name: name, data: data}})
			assertPlaces(t, err, data)
			if err != nil {
				continue
			}
			if inline := file.Inline(); len(inline) > 0 {
				assertPlaces(t, &Error{Problems: inline}, data)
			}
			for _, p := range file.Providers {
				_, warnings, err := p.Decode(schema)
				assertPlaces(t, err, data)
				if len(warnings) > 0 {
					assertPlaces(t, &Error{Problems: warnings}, data)
				}
			}
		}
	})
}

// FuzzDecode puts any text in the place of a value, in both forms.
func FuzzDecode(f *testing.F) {
	for _, v := range []string{`"x"`, "5", "-5", "1e999999", "true", "null", `["a", "b"]`, `{a = "b"}`, `env("HOME")`, `"${file("x")}"`, "<<EOT\nx\nEOT"} {
		f.Add(v)
	}
	dir := f.TempDir()
	types := []provider.AttributeType{
		provider.String, provider.Int, provider.Bool, provider.StringList, provider.StringMap, provider.Path, provider.Duration,
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !utf8.ValidString(value) {
			t.Skip("refused before it is parsed")
		}
		for name, text := range map[string]string{
			"k.hcl":  "provider \"x\" \"y\" {\n  v = " + value + "\n}\nstorage \"sqlite\" {\n  path = \"k\"\n}\n",
			"k.json": openTop[:len(openTop)-len(`"provider": {"local": {"main": {}}}, `)] + `"provider": {"x": {"y": {"v": ` + value + `}}}}`,
		} {
			file := &File{Dir: dir}
			if err := file.build(name, []source{{name: name, data: []byte(text)}}); err != nil {
				assertPlaces(t, err, []byte(text))
				continue
			}
			for _, typ := range types {
				_, _, err := file.Providers[0].Decode(provider.Schema{Attributes: []provider.Attribute{{Name: "v", Type: typ}}})
				assertPlaces(t, err, []byte(text))
			}
		}
	})
}

func assertPlaces(t *testing.T, err error, data []byte) {
	t.Helper()
	if err == nil {
		return
	}
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) == 0 {
		t.Fatalf("%T without problems: %v", err, err)
	}
	// The JSON scanner counts a tab as two columns.
	data = bytes.ReplaceAll(data, []byte("\t"), []byte("  "))
	lines := strings.Split(string(data), "\n")
	for _, p := range e.Problems {
		if p.Line == 0 && p.Column == 0 {
			continue
		}
		// The place of what is missing at the end of a line is right after it.
		if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+2 {
			t.Errorf("%v: no such place in a file of %d lines", p, len(lines))
		}
		if p.Summary == "" {
			t.Errorf("%v says nothing", p)
		}
	}
}
