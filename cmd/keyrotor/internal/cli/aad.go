package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// maxAAD bounds the file of --aad-file.
const maxAAD = 1 << 20

// aadFlags are --aad and --aad-file.
type aadFlags struct {
	text, file string
}

func (f *aadFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.text, "aad", "", "the `TEXT` that the value is bound to; it is not secret")
	cmd.Flags().StringVar(&f.file, "aad-file", "", "a `FILE` that holds it instead, byte for byte")
}

// read answers the additional authenticated data; nil is none.
func (f *aadFlags) read(cmd *cobra.Command) ([]byte, error) {
	byText, byFile := cmd.Flags().Changed("aad"), cmd.Flags().Changed("aad-file")
	switch {
	case byText && byFile:
		return nil, misuse(cmd, "--aad and --aad-file are both given")
	case byFile:
		return readAADFile(f.file)
	default:
		return []byte(f.text), nil
	}
}

func readAADFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--aad-file: %w", err)
	}
	defer file.Close()
	aad, err := io.ReadAll(io.LimitReader(file, maxAAD+1))
	if err != nil {
		return nil, fmt.Errorf("--aad-file: %w", err)
	}
	if len(aad) > maxAAD {
		return nil, fmt.Errorf("--aad-file: %s: %w: over %d bytes", path, errTooLarge, maxAAD)
	}
	return aad, nil
}
