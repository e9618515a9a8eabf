package wrapping_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// keyManager is a provider with its Info, as the catalog answers it.
type keyManager struct{ provider.KeyManager }

func (keyManager) Info() provider.Info { return local.Info("example") }

// example makes a key-encryption key in a folder of its own.
func example() (km keyManager, cleanup func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	km.KeyManager, err = local.New(ctx, provider.Config{Body: provider.Body{
		Attributes: map[string]any{"path": filepath.Join(dir, "example.kek")},
	}})
	if err != nil {
		panic(err)
	}
	if _, err := km.KeyManager.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{}); err != nil {
		panic(err)
	}
	return km, func() { _ = os.RemoveAll(dir) }
}

func wrapOne(km keyManager, b keyring.Binding) wrapping.Material {
	w := wrapping.Wrapper{
		KeyManager: func(string) (wrapping.KeyManager, error) { return km, nil }, Now: time.Now,
	}
	m, err := w.Make(context.Background(), b, []string{"prod"}, keyring.Root{})
	if err != nil {
		panic(err)
	}
	return m
}

func ExampleWrapper_Make() {
	km, cleanup := example()
	defer cleanup()
	w := wrapping.Wrapper{
		KeyManager: func(string) (wrapping.KeyManager, error) { return km, nil }, Now: time.Now,
	}
	b := keyring.Binding{Store: keyring.NewStoreID(), Key: keyring.KeyID{1}, Version: 1, Algorithm: keyring.AES256GCM}
	m, err := w.Make(context.Background(), b, []string{"prod", "dr"}, keyring.Root{})
	defer m.Root.Wipe()
	if err != nil {
		panic(err)
	}
	for _, wrap := range m.Wraps {
		fmt.Println(wrap.Provider, wrap.KEKVersion)
	}
	// Output:
	// prod 1
	// dr 1
}

func ExampleOpen() {
	km, cleanup := example()
	defer cleanup()
	b := keyring.Binding{Store: keyring.NewStoreID(), Key: keyring.KeyID{1}, Version: 1, Algorithm: keyring.AES256GCM}
	m := wrapOne(km, b)
	root, err := wrapping.Open(context.Background(), km, b, m.Wraps[0], m.KCV)
	defer root.Wipe()
	fmt.Println(root.Equal(m.Root.Bytes), err)
	// Output: true <nil>
}

func ExampleProve() {
	km, cleanup := example()
	defer cleanup()
	b := keyring.Binding{Store: keyring.NewStoreID(), Key: keyring.KeyID{1}, Version: 1, Algorithm: keyring.AES256GCM}
	m := wrapOne(km, b)
	other := keyring.GenerateRoot()
	fmt.Println(wrapping.Prove(context.Background(), km, b, m.Root, &m.Wraps[0]))
	fmt.Println(wrapping.Prove(context.Background(), km, b, other, &m.Wraps[0]) == nil)
	// Output:
	// <nil>
	// false
}

func ExampleVerify() {
	km, cleanup := example()
	defer cleanup()
	b := keyring.Binding{Store: keyring.NewStoreID(), Key: keyring.KeyID{1}, Version: 1, Algorithm: keyring.AES256GCM}
	m := wrapOne(km, b)
	wrap := m.Wraps[0]
	wrap.KEKVersion = "" // as after a call that does not tell
	err := wrapping.Verify(context.Background(), km, b, m.KCV, &wrap)
	fmt.Println(wrap.KEKVersion, err)
	// Output: 1 <nil>
}

func ExampleUnwrap() {
	km, cleanup := example()
	defer cleanup()
	b := keyring.Binding{Store: keyring.NewStoreID(), Key: keyring.KeyID{1}, Version: 1, Algorithm: keyring.AES256GCM}
	m := wrapOne(km, b)
	root, version, err := wrapping.Unwrap(context.Background(), km, b, m.Wraps[0])
	defer root.Wipe()
	fmt.Println(version, err)
	// Output: 1 <nil>
}
