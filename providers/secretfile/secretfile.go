// Package secretfile reads credentials that an administrator keeps in a file, for every
// provider in the same way: the file may be replaced at any time, nothing waits for a
// writer, and no copy of the secret is left behind that Go lets us wipe.
package secretfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Read answers the content of a regular file without one newline at its end; the caller
// wipes it. A symbolic link is followed, as mounted secrets are links. what names the
// secret in errors, which never hold any of it.
func Read(path, what string, limit int) (provider.Secret, error) {
	// Opening a pipe would wait for a writer for ever.
	info, err := os.Stat(path)
	if err != nil {
		return provider.Secret{}, fmt.Errorf("cannot read the %s: %w", what, err)
	}
	if !info.Mode().IsRegular() {
		return provider.Secret{}, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return provider.Secret{}, fmt.Errorf("cannot read the %s: %w", what, err)
	}
	defer f.Close()
	// A fixed buffer, because a growing one leaves copies behind.
	buf := make([]byte, limit+1)
	n, err := io.ReadFull(f, buf)
	if err == nil {
		clear(buf)
		return provider.Secret{}, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(buf)
		return provider.Secret{}, fmt.Errorf("cannot read the %s: %w", what, err)
	}
	content := bytes.TrimSuffix(buf[:n], []byte("\n"))
	if len(content) < n {
		content = bytes.TrimSuffix(content, []byte("\r"))
	}
	if len(content) == 0 {
		return provider.Secret{}, fmt.Errorf("%s is empty: write the %s into it", path, what)
	}
	return provider.NewSecret(content), nil
}
