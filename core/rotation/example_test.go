package rotation_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// inProcess is a provider without a plugin process.
type inProcess struct{ provider.KeyManager }

func (inProcess) Info() provider.Info { return local.Info("in-process") }

// Each step can be watched. Services let package engine do this.
func ExampleRotator_Rotate() {
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

	r, err := rotation.New(rotation.Config{
		Store: st, Actor: "example@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return inProcess{km}, nil },
		OnStep:     func(key string, step rotation.Step) { fmt.Println(key, step) },
	})
	if err != nil {
		log.Fatal(err)
	}
	created := rotation.Request{Key: "payments", Reason: keyring.ReasonInitial}
	if _, err := r.Create(ctx, created, keyring.Settings{WrapWith: []string{"local"}}); err != nil {
		log.Fatal(err)
	}
	result, err := r.Rotate(ctx, rotation.Request{Key: "payments", Reason: keyring.ReasonManual, Note: "as planned"})
	fmt.Println(result.Previous, result.Primary, err)
	// Output:
	// payments intent
	// payments generated
	// payments wrapped
	// payments proved
	// payments committed
	// payments announced
	// payments intent
	// payments generated
	// payments wrapped
	// payments proved
	// payments committed
	// payments announced
	// 1 2 <nil>
}
