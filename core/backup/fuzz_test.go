package backup

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// gullible opens every wrap, with the root that it was made with.
type gullible struct {
	provider.KeyManager
	root []byte
}

func (gullible) Info() provider.Info { return provider.Info{} }

func (g gullible) Unwrap(_ context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	return []provider.UnwrapResult{{Plaintext: provider.NewSecret(bytes.Clone(g.root)), KEKID: items[0].Wrapped.KEKID}}, nil
}

// FuzzRead: nothing opens but what was written once, even if the key manager answers the
// root to everybody; and nothing that a file says makes its reader allocate without
// bounds or go on for ever.
func FuzzRead(f *testing.F) {
	km := gullible{root: bytes.Repeat([]byte{7}, keyring.RootSize)}
	genuine, err := os.ReadFile(filepath.Join("testdata", "tiny.krbackup"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		b, err := Read(bytes.NewReader(file))
		if err != nil {
			return
		}
		if err := b.Header.check(); err != nil {
			t.Errorf("a header was read that none writes: %v", err)
		}
		copied, err := b.Open(t.Context(), func(string) (wrapping.KeyManager, error) { return km, nil })
		if err != nil {
			return
		}
		n, err := io.Copy(io.Discard, copied)
		if (err == nil) != bytes.Equal(file, genuine) {
			t.Errorf("%q: %v", file, err)
		}
		if n > int64(len(file)) {
			t.Errorf("%d bytes came out of %d", n, len(file))
		}
	})
}
