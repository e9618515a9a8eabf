package reencrypt

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// maxTempBase keeps the temporary's name within the 255 bytes that file systems
// allow.
const maxTempBase = 200

// The name of a file may hold line breaks.
var temporaryName = regexp.MustCompile(`(?s)^\..+\.keyrotor-[0-9a-f]{16}\.tmp$`)

// isTemporary reports whether a file of this name is a replacement that was not
// completed.
func isTemporary(name string) bool { return temporaryName.MatchString(name) }

// replacement is the new content of a file, written beside it. As long as it is
// written its lock is held, so that other runs can tell it from one that a
// killed process left behind.
type replacement struct {
	src  *source
	file *os.File
	out  *bufio.Writer
}

// replace begins a replacement with the first n bytes of the source.
func (s *source) replace(ctx context.Context, n int64, out *bufio.Writer) (*replacement, error) {
	f, err := createTemporary(s.path)
	if err != nil {
		return nil, fmt.Errorf("cannot write beside the file: %w", err)
	}
	out.Reset(f)
	r := &replacement{src: s, file: f, out: out}
	before := &meter{ctx: ctx, src: io.NewSectionReader(s.file, 0, n), read: func(int) {}}
	copied, err := io.Copy(out, before)
	if err == nil && copied < n {
		err = errChanged
	}
	if err != nil {
		r.discard()
		return nil, err
	}
	return r, nil
}

func (r *replacement) write(p []byte) error {
	_, err := r.out.Write(p)
	return err
}

// commit puts the replacement in the file's place, if that is still what was
// read. Either way the replacement is over.
func (r *replacement) commit() error {
	err := r.finish()
	if err == nil {
		err = r.src.unchanged()
	}
	if err == nil {
		err = publish(r.file, r.src.file, r.src.path)
	}
	if err != nil {
		r.discard()
		return err
	}
	_ = r.file.Close()
	return syncFolder(filepath.Dir(r.src.path))
}

// finish makes the replacement what the file is to be, down to the disk.
func (r *replacement) finish() error {
	if err := r.out.Flush(); err != nil {
		return err
	}
	if err := copyAttributes(r.file, r.src); err != nil {
		return err
	}
	return r.file.Sync()
}

func (r *replacement) discard() {
	// In this order, so that nobody else takes it for a leftover. Where an open
	// file cannot be removed, the second attempt removes it.
	err := os.Remove(r.file.Name())
	_ = r.file.Close()
	if err != nil {
		_ = os.Remove(r.file.Name())
	}
}

// createTemporary makes a file beside path and locks it.
func createTemporary(path string) (*os.File, error) {
	folder, base := filepath.Split(path)
	base = base[:min(len(base), maxTempBase)]
	for {
		var random [8]byte
		_, _ = rand.Read(random[:]) // never fails
		name := filepath.Join(folder, "."+base+".keyrotor-"+hex.EncodeToString(random[:])+".tmp")
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if lockNew(f) {
			return f, nil
		}
		// Another run found it before it was locked, and is removing it.
		_ = f.Close()
	}
}
