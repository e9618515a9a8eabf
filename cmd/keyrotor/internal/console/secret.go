package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// ErrDiffer: a person did not type the same twice.
var ErrDiffer = errors.New("the two are not the same; nothing was done")

// Secret asks the person at the terminal for a line that does not show while it is
// typed: once for each prompt, and the same each time. The caller wipes it.
func (c *Console) Secret(ctx context.Context, prompts ...string) ([]byte, error) {
	var line []byte
	for i, prompt := range prompts {
		again, err := c.hidden(ctx, prompt)
		if err == nil && i > 0 && !bytes.Equal(line, again) {
			err = ErrDiffer
		}
		clear(line)
		if line = again; err != nil {
			clear(line)
			return nil, err
		}
	}
	return line, nil
}

// hidden reads a line with the echo off. If the context ends it, the echo is turned
// on again; the read itself cannot be ended.
func (c *Console) hidden(ctx context.Context, prompt string) ([]byte, error) {
	file, ok := c.In.(*os.File)
	if !ok {
		return nil, errors.New("standard input is no terminal")
	}
	fd := int(file.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("turn the terminal's echo off: %w", err)
	}
	type typed struct {
		line []byte
		err  error
	}
	answer := make(chan typed, 1)
	fmt.Fprint(c.Err, prompt)
	defer fmt.Fprintln(c.Err)
	go func() {
		line, err := term.ReadPassword(fd)
		answer <- typed{line, err}
	}()
	select {
	case a := <-answer:
		return a.line, a.err
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), term.Restore(fd, before))
	}
}
