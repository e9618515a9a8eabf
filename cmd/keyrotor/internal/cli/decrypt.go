package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// maxCiphertext is the longest input of decrypt: a text token and its line break.
const maxCiphertext = keyring.MaxTokenLen + len("\r\n")

// decryption is one run of the decrypt command.
type decryption struct {
	*app
	aad   []byte
	lines bool
}

// lineFailure is a line that could not be decrypted.
type lineFailure struct {
	Line  int    `json:"line"`
	Code  string `json:"code"`
	Error string `json:"error"`

	err error
}

func (a *app) decryptCommand() *cobra.Command {
	var aad aadFlags
	d := decryption{app: a}
	cmd := &cobra.Command{
		Use:   "decrypt",
		Short: "Decrypt a token, or the binary form, from standard input",
		Long: `Decrypt a token, or the binary form, from standard input. The answer is the value,
byte for byte; no newline is added. One line break (LF or CRLF) at the token's end
is ignored. In JSON the value is base64, in plaintext_base64.

--lines takes a token on each line (LF or CRLF) and answers each value with a newline
after it.
A line that cannot be decrypted is listed on standard error and leaves an empty
line (null in JSON), so that line n of the answer belongs to line n of the input.
Values that have line feeds of their own break that: use -o json for them.

` + exitCodesNote,
		Example: `  printf '%s' "$TOKEN" | keyrotor decrypt
  keyrotor decrypt --aad customer/42 <card.token
  keyrotor decrypt --lines <tokens >values
  keyrotor decrypt <photo.enc >photo.jpg`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if d.aad, err = aad.read(cmd); err != nil {
				return err
			}
			return a.withKeyrotor(cmd, d.run)
		},
	}
	aad.add(cmd)
	cmd.Flags().BoolVar(&d.lines, "lines", false, "take a token on each line")
	return cmd
}

func (d *decryption) run(ctx context.Context, kr *core.Keyrotor) error {
	if d.InTerminal() {
		d.Hint("Paste the token, then Enter and Ctrl-D.")
	}
	in := d.stdin(ctx)
	defer in.Close()
	if d.lines {
		return d.decryptLines(ctx, kr, in)
	}
	ciphertext, err := readAll(in, maxCiphertext)
	if err != nil {
		return err
	}
	ciphertext = trimToken(ciphertext)
	if len(ciphertext) == 0 {
		return errEmpty
	}
	plaintext, err := kr.Decrypt(ctx, ciphertext, d.aad)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	if d.JSON {
		return d.Answer(map[string][]byte{"plaintext_base64": plaintext})
	}
	_, err = d.Out.Write(plaintext)
	if d.OutTerminal() {
		d.Hint("") // the shell's prompt is to stand on a line of its own
	}
	return err
}

func (d *decryption) decryptLines(ctx context.Context, kr *core.Keyrotor, in io.Reader) error {
	lines := newLineReader(in, maxCiphertext)
	out := newLineWriter(d.Out, d.JSON, "plaintexts_base64")
	failed, err := d.eachLine(ctx, kr, lines, out)
	field, encodeErr := json.Marshal(failed)
	// A write that failed is answered again by close; it is said once.
	err = cmp.Or(err, encodeErr, out.close(`"failed":`+string(field)))
	switch {
	case err != nil || len(failed) == 0:
		return err
	case out.count == 0:
		return fmt.Errorf("none of %s could be decrypted: %w", count(len(failed), "line"), failed[0].err)
	default:
		return &partlyError{fmt.Sprintf("%d of %s could not be decrypted", len(failed), count(lines.number, "line"))}
	}
}

// eachLine decrypts line by line and answers what failed. The error ends it.
func (d *decryption) eachLine(ctx context.Context, kr *core.Keyrotor, lines *lineReader, out *lineWriter) (failed []lineFailure, err error) {
	failed = []lineFailure{}
	var plaintext []byte
	defer func() { clear(plaintext[:cap(plaintext)]) }()
	for {
		if lines.waits() {
			if err := out.flush(); err != nil {
				return failed, err
			}
		}
		token, err := lines.next()
		if errors.Is(err, io.EOF) {
			return failed, nil
		}
		if err != nil {
			return failed, err
		}
		plaintext, err = kr.AppendDecrypt(ctx, plaintext[:0], bytes.TrimSuffix(token, []byte("\r")), d.aad)
		if ctx.Err() != nil {
			return failed, context.Cause(ctx)
		}
		if err != nil {
			failed = append(failed, d.failedLine(lines.number, err))
			err = out.skip()
		} else {
			err = d.put(out, plaintext)
		}
		if err != nil {
			return failed, err
		}
	}
}

// failedLine lists a line at once, since an answer may take long.
func (d *decryption) failedLine(number int, err error) lineFailure {
	f := lineFailure{Line: number, Code: codeOf(err), Error: err.Error(), err: err}
	d.Hint("line %d: %s: %s", f.Line, f.Code, f.Error)
	return f
}

func (d *decryption) put(out *lineWriter, plaintext []byte) error {
	if !d.JSON {
		return out.put(plaintext)
	}
	encoded := base64.StdEncoding.AppendEncode(nil, plaintext)
	defer clear(encoded)
	return out.put(encoded)
}
