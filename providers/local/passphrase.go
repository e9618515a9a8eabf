package local

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/keyrotor/keyrotor/core/provider"
)

const maxPassphrase = 4096

// passphrase is where the passphrase comes from; the zero value is none.
type passphrase struct {
	value provider.Secret
	file  string
}

func newPassphrase(body provider.Body) (passphrase, error) {
	inline, file := body.Has(attrPassphrase), body.Has(attrPassphraseFile)
	switch {
	case inline && file:
		return passphrase{}, configError(attrPassphraseFile, "passphrase is set too: keep one of the two")
	case file:
		if body.String(attrPassphraseFile) == "" {
			return passphrase{}, configError(attrPassphraseFile, "it is empty: name the file, or leave the attribute out")
		}
		return passphrase{file: body.String(attrPassphraseFile)}, nil
	case inline:
		value := body.Secret(attrPassphrase)
		if value.Len() == 0 {
			return passphrase{}, configError(attrPassphrase, "it is empty: set a passphrase, or leave the attribute out")
		}
		return passphrase{value: value.Clone()}, nil
	default:
		return passphrase{}, nil
	}
}

func (p passphrase) configured() bool { return p.file != "" || p.value.Len() > 0 }

// attribute is where an error about the passphrase points to.
func (p passphrase) attribute() string {
	if p.file != "" {
		return attrPassphraseFile
	}
	return attrPassphrase
}

// read answers the passphrase, which the caller wipes.
func (p passphrase) read() (provider.Secret, error) {
	if p.file == "" {
		return p.value.Clone(), nil
	}
	// Opening a pipe would wait for a writer for ever.
	info, err := os.Stat(p.file)
	if err != nil {
		return provider.Secret{}, configError(attrPassphraseFile, "cannot read the passphrase: %w", err)
	}
	if !info.Mode().IsRegular() {
		return provider.Secret{}, configError(attrPassphraseFile, "%s is not a regular file", p.file)
	}
	f, err := os.Open(p.file)
	if err != nil {
		return provider.Secret{}, configError(attrPassphraseFile, "cannot read the passphrase: %w", err)
	}
	defer f.Close()
	// A fixed buffer, because a growing one leaves copies behind.
	buf := make([]byte, maxPassphrase+1)
	n, err := io.ReadFull(f, buf)
	if err == nil {
		clear(buf)
		return provider.Secret{}, configError(attrPassphraseFile, "%s is longer than %d bytes", p.file, maxPassphrase)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(buf)
		return provider.Secret{}, configError(attrPassphraseFile, "cannot read the passphrase: %w", err)
	}
	secret := bytes.TrimSuffix(buf[:n], []byte("\n"))
	if len(secret) < n {
		secret = bytes.TrimSuffix(secret, []byte("\r"))
	}
	if len(secret) == 0 {
		return provider.Secret{}, configError(attrPassphraseFile, "%s is empty: write the passphrase into it", p.file)
	}
	return provider.NewSecret(secret), nil
}
