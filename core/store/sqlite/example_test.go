package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "keyrotor")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
	if err != nil {
		panic(err)
	}
	defer func() { _ = s.Close() }()

	_, err = s.Update(ctx, store.Update{
		Name: "payments", Create: true,
		Apply: func(r *keyring.Record) ([]history.Event, error) {
			*r = keyring.Record{
				ID: keyring.KeyID{1}, Name: "payments", Created: time.Now(),
				Settings: keyring.Settings{Algorithm: keyring.AES256GCM, HardLimit: keyring.MaxUses, WrapWith: []string{"local"}},
			}
			return []history.Event{{Type: history.Creation, Actor: "alice@host"}}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	key, err := s.Key(ctx, "payments")
	if err != nil {
		panic(err)
	}
	fmt.Println(key.Name, key.Settings.Algorithm, key.LastDigest == key.Digest(s.ID()).String())
	// Output: payments AES-256-GCM true
}
