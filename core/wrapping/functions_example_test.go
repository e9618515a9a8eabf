package wrapping_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// A key manager of one's own, without a plugin: an engine over two functions.
func ExampleFunctions() {
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
	kek := keyring.GenerateRoot() // e.g. from a hardware module that has no plugin
	km, err := sealing("vault-7", kek.Reveal()).KeyManager()
	if err != nil {
		log.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Store: st, Actor: "billing", KeyManager: func(string) (wrapping.KeyManager, error) { return km, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(ctx)
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"mine"}}, ""); err != nil {
		log.Fatal(err)
	}
	token, err := e.Encrypt(ctx, "payments", []byte("s3cret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := e.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
		log.Fatal(err)
	}
	plaintext, err := e.Decrypt(ctx, token, nil)
	fmt.Printf("%s %v\n", plaintext, err)
	// Output: s3cret <nil>
}
