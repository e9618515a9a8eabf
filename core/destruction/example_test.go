package destruction_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// inProcess is a provider without a plugin process.
type inProcess struct{ provider.KeyManager }

func (inProcess) Info() provider.Info { return local.Info("in-process") }

// A version is destroyed when nothing needs it any more. Services let core.Open do
// the wiring, and call Keyrotor.Destruction.
func ExampleDestroyer() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	now := time.Now() // the store's clock, which this example sets
	st, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db"), Now: func() time.Time { return now }})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	km, err := local.New(ctx, provider.Config{Body: provider.Body{
		Attributes: map[string]any{"path": filepath.Join(dir, "keyrotor.kek")},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer km.Close()
	if _, err := km.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{}); err != nil {
		log.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Store: st, Actor: "example@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return inProcess{km}, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(ctx)
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"local"}}, ""); err != nil {
		log.Fatal(err)
	}
	token, err := e.Encrypt(ctx, "payments", []byte("s3cret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	env := filepath.Join(dir, "shop.env")
	if err := os.WriteFile(env, append([]byte("PASSWORD="), token...), 0o600); err != nil {
		log.Fatal(err)
	}
	if _, err := e.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
		log.Fatal(err)
	}

	d, err := destruction.New(destruction.Config{
		Store: st, Keys: e, Paths: []string{env}, Actor: "example@host", Changed: e.Changed,
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = d.Schedule(ctx, "payments", 1, time.Hour, "")
	if refused, ok := errors.AsType[*destruction.RefusedError](err); ok {
		for _, r := range refused.Reasons {
			fmt.Println(r.Code, r.Count)
		}
	}
	if _, err := (&reencrypt.Job{Keys: e}).Run(ctx, []string{env}); err != nil {
		log.Fatal(err)
	}
	if _, err := d.Schedule(ctx, "payments", 1, time.Hour, ""); err != nil {
		log.Fatal(err)
	}
	now = now.Add(time.Hour)
	receipt, err := d.Run(ctx, "payments", 1, "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.What, "of", receipt.Key, receipt.Version)
	_, err = e.Decrypt(ctx, token, nil)
	fmt.Println(err)
	// Output:
	// tokens 1
	// wraps deleted of payments 1
	// not allowed in this state: version 1 of key "payments" is destroyed
}
