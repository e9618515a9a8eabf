package local

import (
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/secretfile"
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
	pass, err := secretfile.Read(p.file, "passphrase", maxPassphrase)
	if err != nil {
		return provider.Secret{}, configError(attrPassphraseFile, "%w", err)
	}
	return pass, nil
}
