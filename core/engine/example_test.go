package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// inProcess is a provider without a plugin process: for tests and for embedding.
type inProcess struct{ provider.KeyManager }

func (inProcess) Info() provider.Info { return local.Info("in-process") }

// example is an engine over a store and a key manager in a folder of their own.
// Services let core.Open do the wiring.
func example(ctx context.Context, c engine.Config) (e *engine.Engine, cleanup func()) {
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	if err != nil {
		log.Fatal(err)
	}
	st, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
	if err != nil {
		log.Fatal(err)
	}
	km, err := local.New(ctx, provider.Config{Body: provider.Body{
		Attributes: map[string]any{"path": filepath.Join(dir, "keyrotor.kek")},
	}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := km.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{}); err != nil {
		log.Fatal(err)
	}
	c.Store, c.Actor = st, "example@host"
	c.KeyManager = func(string) (wrapping.KeyManager, error) { return inProcess{km}, nil }
	e, err = engine.New(c)
	if err != nil {
		log.Fatal(err)
	}
	return e, func() {
		if err := errors.Join(e.Close(ctx), km.Close(), st.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// A key is rotated, and what its old version encrypted is read and moved on.
func Example() {
	ctx := context.Background()
	e, cleanup := example(ctx, engine.Config{})
	defer cleanup()

	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"local"}}, ""); err != nil {
		log.Fatal(err)
	}
	token, err := e.Encrypt(ctx, "payments", []byte("s3cret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.21s…\n", token)
	if _, err := e.Rotate(ctx, "payments", keyring.ReasonManual, "quarterly"); err != nil {
		log.Fatal(err)
	}
	plaintext, err := e.Decrypt(ctx, token, nil)
	fmt.Printf("%s %v\n", plaintext, err)
	moved, changed, err := e.Reencrypt(ctx, nil, token, nil)
	fmt.Printf("%.21s… %v %v\n", moved, changed, err)
	// Output:
	// keyrotor:payments:v1:…
	// s3cret <nil>
	// keyrotor:payments:v2:… true <nil>
}

// What a health check or a metric asks.
func ExampleEngine_KeyManagers() {
	ctx := context.Background()
	e, cleanup := example(ctx, engine.Config{
		Budget: func(string) outage.Budget { return outage.Budget{TTL: 30 * time.Minute, Grace: 24 * time.Hour} },
	})
	defer cleanup()
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"local"}}, ""); err != nil {
		log.Fatal(err)
	}
	for _, s := range e.KeyManagers() {
		fmt.Println(s.Provider, s.State, s.Keys, time.Since(s.LastSuccess) < time.Minute)
	}
	// Output:
	// local ok [payments] true
}

// How far a key is from its hard limit. What this process has on lease counts; it is a
// hundredth at most of what a version is for.
func ExampleEngine_Usage() {
	ctx := context.Background()
	e, cleanup := example(ctx, engine.Config{
		MaxUses: func(string) uint64 { return 4000 }, // by the key's policy
	})
	defer cleanup()
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"local"}, HardLimit: 10_000}, ""); err != nil {
		log.Fatal(err)
	}
	if _, err := e.Encrypt(ctx, "payments", []byte("s3cret"), nil); err != nil {
		log.Fatal(err)
	}
	u, err := e.Usage(ctx, "payments")
	if err != nil {
		log.Fatal(err)
	}
	v := u.Versions[0]
	fmt.Printf("version %d: %d of %d, %d on lease\n", v.Version, v.Uses, u.HardLimit, v.Leased)
	// Output:
	// version 1: 40 of 10000, 40 on lease
}

// A ciphertext that lies in a database in binary form: which version it is under, the
// token that is the same, and the one that takes its place after a rotation.
func ExampleEngine_Renew() {
	ctx := context.Background()
	e, cleanup := example(ctx, engine.Config{})
	defer cleanup()
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"local"}}, ""); err != nil {
		log.Fatal(err)
	}
	row, err := e.EncryptBinary(ctx, "payments", []byte("s3cret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.Identify(ctx, row))
	token, err := e.Text(ctx, row)
	fmt.Printf("%.21s… %v\n", token, err)

	if _, err := e.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
		log.Fatal(err)
	}
	row, from, to, err := e.Renew(ctx, nil, row, nil)
	fmt.Println(from, "to", to, err)
	fmt.Println(e.Identify(ctx, row))
	// Output:
	// payments 1 <nil>
	// keyrotor:payments:v1:… <nil>
	// 1 to 2 <nil>
	// payments 2 <nil>
}
