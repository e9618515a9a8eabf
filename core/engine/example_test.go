package engine_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// inProcess is a provider without a plugin process: for tests and for embedding.
type inProcess struct{ provider.KeyManager }

func (inProcess) Info() provider.Info { return local.Info("in-process") }

// A key is rotated, and what its old version encrypted is read and moved on.
// Services let core.Open do the wiring.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	st, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
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
