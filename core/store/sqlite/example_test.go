package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func ExampleRestore() {
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
	// In use or not, the copy is of one moment.
	copied := filepath.Join(dir, "copy")
	if _, err := s.Snapshot(ctx, copied); err != nil {
		panic(err)
	}

	write := func(w io.Writer) error {
		f, err := os.Open(copied)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}
	accept := func(restored *sqlite.Store) error {
		if restored.ID() != s.ID() {
			return errors.New("another store's")
		}
		return nil
	}
	err = sqlite.Restore(ctx, sqlite.Config{Path: filepath.Join(dir, "again.db")}, write, accept)
	fmt.Println(err)
	// Output: <nil>
}

// Whoever looks at a store that may be damaged changes nothing in it.
func ExampleInspect() {
	dir, err := os.MkdirTemp("", "keyrotor")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	path := filepath.Join(dir, "keyrotor.db")
	s, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		panic(err)
	}
	defer func() { _ = s.Close() }() // it may be in use

	i, err := sqlite.Inspect(ctx, path)
	if err != nil {
		panic(err)
	}
	defer func() { _ = i.Close() }()
	faults, err := i.Integrity(ctx, true)
	fmt.Println(len(faults), err)
	contents, err := i.Contents(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(contents.ID() == s.ID())
	// Output:
	// 0 <nil>
	// true
}

// Old events go, and the tree over all of them stays what it was.
func ExampleStore_Prune() {
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

	lastYear := time.Now().AddDate(-1, 0, 0)
	err = s.Append(ctx, nil, []history.Event{
		{Type: history.Degraded, Provider: "prod", Time: lastYear}, {Type: history.Recovered, Provider: "prod", Time: lastYear},
	})
	if err != nil {
		panic(err)
	}
	gone, err := s.Prune(ctx, store.Prune{Before: time.Now().AddDate(0, -1, 0), Actor: "svc"})
	if err != nil {
		panic(err)
	}
	record, err := s.Record(ctx, 2, 0)
	if err != nil {
		panic(err)
	}
	fmt.Println(gone, "gone; of event 2", record.Bytes == nil, record.Check())
	// Output: 2 gone; of event 2 true <nil>
}
