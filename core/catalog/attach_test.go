package catalog

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider/wire"
)

const attachments = `{"local":{"protocol":"grpc","protocol_version":1,"pid":4711,"network":"unix","address":"/tmp/k/plugin.sock","tls":false}}`

func TestParseReattach(t *testing.T) {
	got, err := ParseReattach(attachments + "\n")
	want := Reattach{"local": {Protocol: "grpc", ProtocolVersion: 1, PID: 4711, Network: "unix", Address: "/tmp/k/plugin.sock"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	const other = "it is not what a plugin prints with -debug: "
	for in, want := range map[string]string{
		"":                      other + "EOF",
		"null":                  other + "one JSON object with at least one plugin",
		"{}":                    other + "one JSON object with at least one plugin",
		attachments + "{}":      other + "one JSON object with at least one plugin",
		`{"local":{"cmd":"x"}}`: other + `json: unknown field "cmd"`,
		`{"../x":{}}`:           `"../x" is no plugin type: lower-case words joined by hyphens are`,
		`{"x":{}}`:              `plugin "x": it speaks "", version 0, and this build grpc, version 1`,
		`{"x":{"protocol":"netrpc","protocol_version":1}}`:                                                               `plugin "x": it speaks "netrpc", version 1, and this build grpc, version 1`,
		`{"x":{"protocol":"grpc","protocol_version":2}}`:                                                                 `plugin "x": it speaks "grpc", version 2, and this build grpc, version 1`,
		`{"x":{"protocol":"grpc","protocol_version":1,"tls":true}}`:                                                      `plugin "x": it asks for TLS, which this build attaches without`,
		`{"x":{"protocol":"grpc","protocol_version":1,"network":"tcp","address":"/s","pid":1}}`:                          `plugin "x": its address is tcp "/s", and not the absolute path of a unix socket`,
		`{"x":{"protocol":"grpc","protocol_version":1,"network":"unix","address":"s","pid":1}}`:                          `plugin "x": its address is unix "s", and not the absolute path of a unix socket`,
		`{"x":{"protocol":"grpc","protocol_version":1,"network":"unix","address":"/s"}}`:                                 `plugin "x": its process id is 0`,
		`{"x":{"protocol":"grpc","protocol_version":1,"network":"unix","address":"/s","pid":-1}}`:                        `plugin "x": its process id is -1`,
		`{"x":{"protocol":"grpc","protocol_version":1,"network":"unix","address":"/s","pid":1},"y":{"protocol":"none"}}`: `plugin "y": it speaks "none", version 0, and this build grpc, version 1`,
	} {
		if r, err := ParseReattach(in); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v, %v\nwant %s", in, r, err, want)
		}
	}
}

func FuzzParseReattach(f *testing.F) {
	f.Add(attachments)
	f.Add(`{"a":{"protocol":"grpc"},"a":{}}`)
	f.Add(`null {}`)
	f.Fuzz(func(t *testing.T, in string) {
		r, err := ParseReattach(in)
		if err != nil {
			return
		}
		for typ, a := range r {
			if !typePattern.MatchString(typ) || a.TLS || a.PID <= 0 || a.Network != "unix" || a.ProtocolVersion != wire.Handshake().ProtocolVersion {
				t.Errorf("accepted %q %+v", typ, a)
			}
		}
		once, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseReattach(string(once)); err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("read %+v, then %+v, %v", r, again, err)
		}
	})
}
