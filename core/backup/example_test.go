package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/backup"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// inProcess is a provider without a plugin process.
type inProcess struct{ provider.KeyManager }

func (inProcess) Info() provider.Info { return local.Info("in-process") }

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	km, err := local.New(ctx, provider.Config{Body: provider.Body{
		Attributes: map[string]any{"path": filepath.Join(dir, "keyrotor.kek")},
	}})
	if err != nil {
		panic(err)
	}
	defer km.Close()
	if _, err := km.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{}); err != nil {
		panic(err)
	}
	keyManager := func(string) (wrapping.KeyManager, error) { return inProcess{km}, nil }

	var file bytes.Buffer
	source := backup.Source{Store: keyring.NewStoreID(), Content: strings.NewReader("a database"), Size: 10}
	wrapper := wrapping.Wrapper{KeyManager: keyManager, Now: time.Now}
	if _, err := backup.Write(ctx, &file, source, wrapper, []string{"local"}); err != nil {
		panic(err)
	}

	b, err := backup.Read(&file)
	if err != nil {
		panic(err)
	}
	fmt.Println(b.Header.Wraps[0].Provider, b.Header.Size)
	copied, err := b.Open(ctx, keyManager)
	if err != nil {
		panic(err)
	}
	text, err := io.ReadAll(copied)
	fmt.Printf("%s %v\n", text, err)
	// Output:
	// local 10
	// a database <nil>
}
