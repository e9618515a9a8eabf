package wire_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// Every field has a value of its own, so that a swapped or forgotten one shows.
func TestEveryCallCarriesEveryField(t *testing.T) {
	head := mirrorHead(30)
	tests := []struct {
		call     string
		do       func(context.Context, *wire.Instance) (any, error)
		request  any
		response any
	}{
		{"Check", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.Check(ctx, provider.CheckRequest{Deep: true})
		}, provider.CheckRequest{Deep: true}, checkResponse()},
		{"DescribeKey", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.DescribeKey(ctx)
		}, nil, describeResponse()},
		{"GenerateDataKey", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{AAD: []byte("bound")})
		}, provider.GenerateDataKeyRequest{AAD: []byte("bound")}, generateResponse()},
		{"Wrap", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.Wrap(ctx, wrapItems())
		}, wrapItems(), wrapResults("wrap")},
		{"Unwrap", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.Unwrap(ctx, unwrapItems())
		}, unwrapItems(), unwrapResults()},
		{"Rewrap", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.Rewrap(ctx, unwrapItems())
		}, unwrapItems(), wrapResults("rewrap")},
		{"RotateKey", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "seen", RequestID: "rotate-request"})
		}, provider.RotateKeyRequest{ExpectedVersion: "seen", RequestID: "rotate-request"}, rotateResponse()},
		{"WriteMirror", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.WriteMirror(ctx, writeMirrorRequest())
		}, writeMirrorRequest(), provider.WriteMirrorResponse{Head: &head}},
		{"ReadMirror", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.ReadMirror(ctx, provider.ReadMirrorRequest{StoreID: [16]byte{8, 8}, FromSeq: 39, Limit: 2})
		}, provider.ReadMirrorRequest{StoreID: [16]byte{8, 8}, FromSeq: 39, Limit: 2}, readMirrorResponse()},
		{"CreateKey", func(ctx context.Context, i *wire.Instance) (any, error) {
			return i.CreateKey(ctx, provider.CreateKeyRequest{RequestID: "create-request"})
		}, provider.CreateKeyRequest{RequestID: "create-request"}, provider.CreateKeyResponse{KEKID: "created-kek", Version: "created-version"}},
		{"SetVersionState", func(ctx context.Context, i *wire.Instance) (any, error) {
			return nil, i.SetVersionState(ctx, provider.SetVersionStateRequest{Version: "9", State: provider.KeyDestroyed})
		}, provider.SetVersionStateRequest{Version: "9", State: provider.KeyDestroyed}, nil},
	}
	for _, test := range tests {
		t.Run(test.call, func(t *testing.T) {
			calls := 0
			instance := start(t, &manager{on: func(_ context.Context, call string, req any) error {
				calls++
				if call != test.call {
					t.Errorf("the provider saw %s", call)
				}
				if !reflect.DeepEqual(req, test.request) {
					t.Errorf("the provider saw the request %#v, want %#v", req, test.request)
				}
				return nil
			}})
			got, err := test.do(t.Context(), instance)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.response) {
				t.Errorf("the host saw the answer %#v, want %#v", got, test.response)
			}
			if calls != 1 {
				t.Errorf("%d calls", calls)
			}
		})
	}
}

func TestAPendingRotationNamesNoVersion(t *testing.T) {
	for _, old := range []string{"old", ""} { // AWS answers the key's id alone
		pending := provider.RotateKeyResponse{OldVersion: old, Pending: true}
		instance := start(t, &manager{answer: func(string) any { return pending }})
		got, err := instance.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: "old"})
		if err != nil || got != pending {
			t.Errorf("from %q: got %+v, %v", old, got, err)
		}
	}
}

func TestAnEmptyMirrorHasNoHead(t *testing.T) {
	instance := start(t, &manager{answer: func(call string) any {
		if call == "ReadMirror" {
			return provider.ReadMirrorResponse{}
		}
		return provider.WriteMirrorResponse{}
	}})
	read, err := instance.ReadMirror(t.Context(), provider.ReadMirrorRequest{})
	if err != nil || read.Head != nil || len(read.Events) != 0 || read.WriteOnly {
		t.Errorf("read %+v, %v", read, err)
	}
	written, err := instance.WriteMirror(t.Context(), writeMirrorRequest())
	if err != nil || written.Head != nil {
		t.Errorf("written %+v, %v", written, err)
	}
}

func TestInfo(t *testing.T) {
	client := connect(t, wire.NewServer(fullInfo(), provider.Schema{}, nil, nil))
	got, err := client.Info(t.Context())
	if err != nil || !reflect.DeepEqual(got, fullInfo()) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestInfoWithAnUnknownCapabilityIsTheAuthorsBug(t *testing.T) {
	info := provider.Info{Name: "x", Capabilities: provider.Capabilities{"telepathy"}}
	_, err := connect(t, wire.NewServer(info, provider.Schema{}, nil, nil)).Info(t.Context())
	want := `INTERNAL: the plugin lists the unknown capability "telepathy"`
	if err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func testSchema() provider.Schema {
	return provider.Schema{
		Doc: "top doc",
		Attributes: []provider.Attribute{
			{Name: "address", Type: provider.String, Required: true, Doc: "address doc"},
			{Name: "retries", Type: provider.Int, Default: int64(-3), Deprecated: "use nothing"},
			{Name: "tls", Type: provider.Bool, Default: true},
			{Name: "hosts", Type: provider.StringList, Default: []string{"a", "b"}},
			{Name: "labels", Type: provider.StringMap, Default: map[string]string{"k": "v"}},
			{Name: "file", Type: provider.Path},
			{Name: "timeout", Type: provider.Duration, Default: "30s"},
			{Name: "token", Type: provider.String, Sensitive: true},
		},
		Blocks: []provider.BlockSchema{
			{Type: "auth", Labels: []string{"approle", "token"}, Repeated: true, Required: true, Body: provider.Schema{
				Doc:        "auth doc",
				Attributes: []provider.Attribute{{Name: "secret_id", Type: provider.String, Sensitive: true, Required: true}},
			}},
			{Type: "auth", Labels: []string{"cert"}, Repeated: true, Required: true, Body: provider.Schema{
				Attributes: []provider.Attribute{{Name: "file", Type: provider.Path}},
			}},
			{Type: "mirror", Body: provider.Schema{Doc: "mirror doc"}},
		},
	}
}

func TestSchema(t *testing.T) {
	client := connect(t, wire.NewServer(fullInfo(), testSchema(), nil, nil))
	got, err := client.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, testSchema()) {
		t.Errorf("got %#v, want %#v", got, testSchema())
	}
}

func TestSchemaThatTheAuthorGotWrong(t *testing.T) {
	tests := map[string]struct {
		attribute provider.Attribute
		want      string
	}{
		"type":    {provider.Attribute{Name: "a", Type: "float"}, `INTERNAL: schema of attribute "a": unknown type "float"`},
		"default": {provider.Attribute{Name: "a", Type: provider.Int, Default: 3}, `INTERNAL: schema of attribute "a": default: a value of Go type int has no place in a provider block`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			schema := provider.Schema{Blocks: []provider.BlockSchema{{Type: "b", Body: provider.Schema{Attributes: []provider.Attribute{test.attribute}}}}}
			_, err := connect(t, wire.NewServer(fullInfo(), schema, nil, nil)).Schema(t.Context())
			if err == nil || err.Error() != test.want {
				t.Fatalf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestConfigureCarriesTheBody(t *testing.T) {
	sent := provider.Body{
		Attributes: map[string]any{
			"address": "https://x", "retries": int64(7), "tls": false, "hosts": []string{"h1", "h2"},
			"labels": map[string]string{"a": "1", "b": "2"}, "file": "/etc/x", "timeout": "5s",
			"token": provider.NewSecret([]byte("t0ken")),
		},
		Blocks: []provider.Block{
			{Type: "auth", Label: "approle", Body: provider.Body{Attributes: map[string]any{"secret_id": "not yet secret"}}},
			{Type: "auth", Label: "token", Body: provider.Body{Attributes: map[string]any{}}},
			{Type: "auth", Label: "cert", Body: provider.Body{Attributes: map[string]any{"file": "/etc/cert"}}},
		},
	}
	want := sent
	want.Blocks = []provider.Block{
		{Type: "auth", Label: "approle", Body: provider.Body{Attributes: map[string]any{"secret_id": provider.NewSecret([]byte("not yet secret"))}}},
		sent.Blocks[1], sent.Blocks[2],
	}
	var got provider.Config
	build := func(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
		got = cfg
		return &manager{}, nil
	}
	client := connect(t, wire.NewServer(fullInfo(), testSchema(), build, nil))
	if err := client.Configure(t.Context(), "prod", sent); err != nil {
		t.Fatal(err)
	}
	if got.Instance != "prod" || !reflect.DeepEqual(got.Body, want) {
		t.Errorf("the provider saw %#v, want %#v", got, want)
	}
}

func TestConfigureRefusesWhatTheSchemaDoesNotKnow(t *testing.T) {
	nested := func(typ string, attributes map[string]any) provider.Body {
		return provider.Body{Blocks: []provider.Block{{Type: typ, Label: "approle", Body: provider.Body{Attributes: attributes}}}}
	}
	tests := map[string]struct {
		body      provider.Body
		attribute string
		message   string
	}{
		"unknown attribute":  {provider.Body{Attributes: map[string]any{"addresses": "x"}}, "addresses", "the schema has no such attribute"},
		"wrong type":         {provider.Body{Attributes: map[string]any{"retries": "7"}}, "retries", "the value is not of type int"},
		"nested wrong type":  {nested("auth", map[string]any{"secret_id": int64(1)}), "auth.approle.secret_id", "the value is not of type string"},
		"unknown block":      {nested("atuh", nil), "atuh.approle", "the schema has no such block"},
		"unknown label":      {provider.Body{Blocks: []provider.Block{{Type: "auth", Label: "aprole"}}}, "auth.aprole", "the schema has no such block"},
		"another label's":    {provider.Body{Blocks: []provider.Block{{Type: "auth", Label: "cert", Body: provider.Body{Attributes: map[string]any{"secret_id": "x"}}}}}, "auth.cert.secret_id", "the schema has no such attribute"},
		"no label":           {provider.Body{Blocks: []provider.Block{{Type: "auth"}}}, "auth", "the schema has no such block"},
		"foreign Go type":    {nested("auth", map[string]any{"secret_id": 3.5}), "auth.approle.secret_id", "a value of Go type float64 has no place in a provider block"},
		"binary text":        {provider.Body{Attributes: map[string]any{"token": provider.NewSecret([]byte{0xFF})}}, "token", "the value holds bytes that are not UTF-8 text; encode them, e.g. in base64"},
		"binary list":        {provider.Body{Attributes: map[string]any{"hosts": []string{"ok", "\xFF"}}}, "hosts", "the value holds bytes that are not UTF-8 text; encode them, e.g. in base64"},
		"text split in half": {provider.Body{Attributes: map[string]any{"labels": map[string]string{"\xC3": "\xA9"}}}, "labels", "the value holds bytes that are not UTF-8 text; encode them, e.g. in base64"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			build := func(context.Context, provider.Config) (provider.KeyManager, error) {
				t.Error("the constructor ran")
				return &manager{}, nil
			}
			client := connect(t, wire.NewServer(fullInfo(), testSchema(), build, nil))
			got := providerError(t, client.Configure(t.Context(), "one", test.body))
			want := provider.Error{Code: provider.InvalidConfig, Attribute: test.attribute, Message: test.message}
			if got.Code != want.Code || got.Attribute != want.Attribute || got.Message != want.Message {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
