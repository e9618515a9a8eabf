package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// encryption is one run of the encrypt command.
type encryption struct {
	*app
	key           string
	aad           []byte
	binary, lines bool
}

func (a *app) encryptCommand() *cobra.Command {
	var aad aadFlags
	e := encryption{app: a}
	cmd := &cobra.Command{
		Use:   "encrypt KEY",
		Short: "Encrypt standard input under a key's primary version",
		Long: `Encrypt standard input under a key's primary version. The answer is a token,
keyrotor:KEY:vN:…, and a newline. All of the input is the value, a newline at its
end included; empty input is a valid value; the largest is 64 MiB.

--lines makes a token of each line. Only the line feed is taken off: a carriage
return belongs to the value. It runs as a stream. After an error it ends; the
tokens before it are good.

--binary answers the binary form, without a newline.

--aad binds the value to its context, e.g. the row that it belongs to: decryption
needs the same. It is not secret, and it is not stored.`,
		Example: `  printf 's3cret' | keyrotor encrypt payments
  keyrotor encrypt payments --aad customer/42 <card.txt
  keyrotor encrypt payments --lines <values >tokens
  keyrotor encrypt payments --binary <photo.jpg >photo.enc`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			e.key = args[0]
			if err := e.check(cmd); err != nil {
				return err
			}
			if e.aad, err = aad.read(cmd); err != nil {
				return err
			}
			return a.withKeyrotor(cmd, e.run)
		},
	}
	aad.add(cmd)
	cmd.Flags().BoolVar(&e.binary, "binary", false, "answer the binary form")
	cmd.Flags().BoolVar(&e.lines, "lines", false, "make a token of each line")
	return cmd
}

func (e *encryption) check(cmd *cobra.Command) error {
	switch {
	case e.binary && e.lines:
		return misuse(cmd, "--binary and --lines do not go together")
	case e.binary && e.JSON:
		return misuse(cmd, "--binary answers raw bytes, which do not go into JSON")
	case e.binary && e.OutTerminal():
		return misuse(cmd, "not writing raw bytes to a terminal; redirect standard output to a file")
	default:
		return nil
	}
}

func (e *encryption) run(ctx context.Context, kr *core.Keyrotor) error {
	// An unknown key is said before somebody types a secret for it.
	if _, err := kr.Versions(ctx, e.key); err != nil {
		return err
	}
	if e.InTerminal() {
		e.Hint("Type the value, then Ctrl-D; a newline before it belongs to the value.")
	}
	in := e.stdin(ctx)
	defer in.Close()
	if e.lines {
		return e.encryptLines(ctx, kr, in)
	}
	plaintext, err := readAll(in, keyring.MaxPlaintext)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	if e.binary {
		ciphertext, err := kr.EncryptBinary(ctx, e.key, plaintext, e.aad)
		if err != nil {
			return err
		}
		_, err = e.Out.Write(ciphertext)
		return err
	}
	token, err := kr.Encrypt(ctx, e.key, plaintext, e.aad)
	if err != nil {
		return err
	}
	if e.JSON {
		return e.Answer(map[string]string{"ciphertext": string(token)})
	}
	_, err = e.Out.Write(append(token, '\n'))
	return err
}

// encryptLines stops at the first error: it would hit the other lines as well.
func (e *encryption) encryptLines(ctx context.Context, kr *core.Keyrotor, in io.Reader) error {
	lines := newLineReader(in, keyring.MaxPlaintext)
	defer lines.wipe()
	out := newLineWriter(e.Out, e.JSON, "ciphertexts")
	err := e.eachLine(ctx, kr, lines, out)
	if lost := out.close(); lost != nil {
		return lost // nobody knows how many of the tokens got through
	}
	if err == nil || out.count == 0 {
		return err
	}
	return &partlyError{fmt.Sprintf("%v; the tokens of the %s before are good", err, count(out.count, "line"))}
}

func (e *encryption) eachLine(ctx context.Context, kr *core.Keyrotor, lines *lineReader, out *lineWriter) error {
	var token []byte
	for {
		if lines.waits() {
			if err := out.flush(); err != nil {
				return err
			}
		}
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		token, err = kr.AppendEncrypt(ctx, token[:0], e.key, line, e.aad)
		if err != nil {
			return fmt.Errorf("line %d: %w", lines.number, err)
		}
		if err := out.put(token); err != nil {
			return err
		}
	}
}
