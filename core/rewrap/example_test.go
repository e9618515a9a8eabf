package rewrap_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// keyManager is a provider with its Info, as the catalog answers it.
type keyManager struct{ provider.KeyManager }

func (keyManager) Info() provider.Info { return local.Info("example") }

// example has a key "payments" with two versions, wrapped by the provider "old".
func example(dir string) *rewrap.Mover {
	ctx := context.Background()
	providers := make(map[string]keyManager)
	for _, name := range []string{"old", "new"} {
		km, err := local.New(ctx, provider.Config{Body: provider.Body{
			Attributes: map[string]any{"path": filepath.Join(dir, name+".kek")},
		}})
		if err != nil {
			panic(err)
		}
		if _, err := km.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{}); err != nil {
			panic(err)
		}
		providers[name] = keyManager{km}
	}
	find := func(name string) (wrapping.KeyManager, error) {
		km, ok := providers[name]
		if !ok {
			return nil, fmt.Errorf("no provider %q", name)
		}
		return km, nil
	}
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
	if err != nil {
		panic(err)
	}
	rotator, err := rotation.New(rotation.Config{Store: s, KeyManager: find, Actor: "alice@host"})
	if err != nil {
		panic(err)
	}
	_, err = rotator.Create(ctx, rotation.Request{Key: "payments", Reason: keyring.ReasonInitial}, keyring.Settings{WrapWith: []string{"old"}})
	if err == nil {
		_, err = rotator.Rotate(ctx, rotation.Request{Key: "payments", Reason: keyring.ReasonManual})
	}
	if err != nil {
		panic(err)
	}
	mover, err := rewrap.New(rewrap.Config{Store: s, KeyManager: find, Actor: "alice@host"})
	if err != nil {
		panic(err)
	}
	return mover
}

func ExampleMover_RotateKEK() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	r, err := example(dir).RotateKEK(context.Background(), rewrap.KEKRequest{Provider: "old", Note: "yearly"})
	if err != nil {
		panic(err)
	}
	fmt.Printf("from version %s to %s, %d of %d wraps moved\n", r.Previous, r.KEKVersion, r.Rewrapped, r.Versions)
	// Output: from version 1 to 2, 2 of 2 wraps moved
}

func ExampleMover_RewrapKEK() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	r, err := example(dir).RewrapKEK(context.Background(), rewrap.KEKRequest{Provider: "old"})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d wraps under version %s, %d of them moved\n", r.Versions, r.KEKVersion, r.Rewrapped)
	// Output: 2 wraps under version 1, 0 of them moved
}

func ExampleMover_DescribeKEK() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	kek, err := example(dir).DescribeKEK(context.Background(), "old")
	if err != nil {
		panic(err)
	}
	for _, v := range kek.Versions {
		fmt.Println(v.Version, v.State, v.Wraps)
	}
	// Output: 1 enabled 2
}

func ExampleMover_Migrate() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	mover := example(dir)
	keys, err := mover.WrappedBy(ctx, "old")
	if err != nil {
		panic(err)
	}
	r, err := mover.Migrate(ctx, rewrap.MigrationRequest{Keys: keys, From: "old", To: "new"})
	if err != nil {
		panic(err)
	}
	fmt.Println(keys, r.Wrapped, "wrapped anew,", r.Retired, "retired")
	// Output: [payments] 2 wrapped anew, 2 retired
}
