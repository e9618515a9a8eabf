package secret_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// inProcess is a provider without a plugin process.
type inProcess struct{ provider.KeyManager }

func (inProcess) Info() provider.Info { return local.Info("in-process") }

// openKeys is an engine with the key "payments". Services let core.Open do the wiring.
func openKeys(ctx context.Context) (kr *engine.Engine, cleanup func()) {
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	check(err)
	st, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
	check(err)
	km, err := local.New(ctx, provider.Config{Body: provider.Body{Attributes: map[string]any{"path": filepath.Join(dir, "keyrotor.kek")}}})
	check(err)
	_, err = km.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{})
	check(err)
	kr, err = engine.New(engine.Config{Store: st, Actor: "example@host", KeyManager: func(string) (wrapping.KeyManager, error) { return inProcess{km}, nil }})
	check(err)
	_, err = kr.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"local"}}, "")
	check(err)
	return kr, func() { check(errors.Join(kr.Close(ctx), km.Close(), st.Close(), os.RemoveAll(dir))) }
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleNewValue() {
	ctx := context.Background()
	kr, cleanup := openKeys(ctx)
	defer cleanup()
	password, err := secret.NewValue(ctx, kr, "hunter2", secret.Options{Name: "DB_PASSWORD", Key: "payments"})
	check(err)
	shown, _ := json.Marshal(map[string]any{"password": password})
	fmt.Printf("%v %s\n", password, shown)
	plain, err := password.Get(ctx)
	fmt.Println(plain, err)
	// Output:
	// [redacted] {"password":"[redacted]"}
	// hunter2 <nil>
}

// Without a key, a value is plain in memory; it only never prints.
func ExampleValue_masked() {
	type login struct{ User, Password string }
	v, err := secret.NewValue(context.Background(), nil, login{"shop", "hunter2"}, secret.Options{Name: "login", Handling: secret.Mask})
	check(err)
	fmt.Printf("%+v\n", struct{ Login secret.Value[login] }{v})
	plain, err := v.Get(context.Background())
	fmt.Println(plain.User, err)
	// Output:
	// {Login:[redacted]}
	// shop <nil>
}

// A sealed value is open inside Use, and its buffer is wiped afterwards.
func ExampleValue_Use() {
	ctx := context.Background()
	kr, cleanup := openKeys(ctx)
	defer cleanup()
	key, err := secret.NewValue(ctx, kr, []byte("hunter2"), secret.Options{Name: "signing-key", Key: "payments", Handling: secret.Sealed})
	check(err)
	_, err = key.Get(ctx)
	fmt.Println(err)
	var kept []byte
	err = key.Use(ctx, func(b []byte) error {
		kept = b // which is no use
		fmt.Printf("%s\n", b)
		return nil
	})
	fmt.Printf("%q %v\n", kept, err)
	// Output:
	// secret value "signing-key": is sealed: it is open inside Use only
	// hunter2
	// "\x00\x00\x00\x00\x00\x00\x00" <nil>
}

// What is stored is the token; it opens under the value's name alone.
func ExampleFromToken() {
	ctx := context.Background()
	kr, cleanup := openKeys(ctx)
	defer cleanup()
	password, err := secret.NewValue(ctx, kr, "hunter2", secret.Options{Name: "DB_PASSWORD", Key: "payments"})
	check(err)
	token, err := password.Ciphertext(ctx)
	check(err)
	fmt.Printf("%.21s…\n", token)

	again, err := secret.FromToken[string](ctx, kr, token, secret.Options{Name: "DB_PASSWORD"})
	check(err)
	fmt.Println(again.Equal(ctx, password))
	// Output:
	// keyrotor:payments:v1:…
	// true <nil>
}

// The settings of a service, from its environment.
func ExampleLoad() {
	ctx := context.Background()
	kr, cleanup := openKeys(ctx)
	defer cleanup()
	var settings struct {
		Database struct {
			Host     string               // read elsewhere
			Password secret.Value[string] `keyrotor:"env=EXAMPLE_DB_PASSWORD,handling=sealed"`
		}
		APIKey secret.Value[string] `keyrotor:"env=EXAMPLE_API_KEY"`
		Proxy  secret.Value[string] `keyrotor:"file=/run/secrets/no-proxy-password,optional"`
	}
	os.Setenv("EXAMPLE_DB_PASSWORD", "hunter2")
	_, err := secret.Load(ctx, kr, &settings, secret.LoadOptions{Key: "payments"})
	fmt.Println(err)

	os.Setenv("EXAMPLE_API_KEY", "4711")
	values, err := secret.Load(ctx, kr, &settings, secret.LoadOptions{Key: "payments", Unset: true})
	check(err)
	for _, v := range values {
		fmt.Println(v.Name(), "under", v.Key())
	}
	fmt.Printf("%+v\n", settings)
	// Output:
	// field APIKey: env EXAMPLE_API_KEY: is not set
	// EXAMPLE_DB_PASSWORD under payments
	// EXAMPLE_API_KEY under payments
	// {Database:{Host: Password:[redacted]} APIKey:[redacted] Proxy:[redacted]}
}

// After a rotation of their key, values are brought to its new version.
func ExampleRotate() {
	ctx := context.Background()
	kr, cleanup := openKeys(ctx)
	defer cleanup()
	var values []secret.Rotatable
	for _, name := range []string{"DB_PASSWORD", "API_KEY"} {
		v, err := secret.NewValue(ctx, kr, "hunter2", secret.Options{Name: name, Key: "payments"})
		check(err)
		values = append(values, v)
	}
	_, err := kr.Rotate(ctx, "payments", keyring.ReasonManual, "")
	check(err)
	report, err := secret.Rotate(ctx, kr, values, secret.RotateOptions{})
	check(err)
	for _, out := range report.All() {
		fmt.Println(out.Name, out.From, "to", out.To, out.Err)
	}
	// Output:
	// DB_PASSWORD 1 to 2 <nil>
	// API_KEY 1 to 2 <nil>
}
