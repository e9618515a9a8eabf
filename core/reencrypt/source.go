package reencrypt

import (
	"context"
	"io"
	"io/fs"
	"os"
)

// source is a regular file that is open for reading.
type source struct {
	path string
	file *os.File
	info fs.FileInfo // when it was opened
}

// openSource opens a file unless it is something else by now: then it answers
// why it is skipped.
func openSource(path string) (src *source, reason string, err error) {
	f, err := openRead(path)
	if isSymlinkError(err) {
		return nil, ReasonSymlink, nil
	}
	if err != nil {
		return nil, "", err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		return &source{path: path, file: f, info: info}, "", nil
	}
	_ = f.Close()
	if err != nil {
		return nil, "", err
	}
	return nil, reasonOf(info.Mode().Type()), nil
}

func (s *source) Close() { _ = s.file.Close() }

// unchanged fails with errChanged if the path is no longer the file that was
// opened, as it was then.
func (s *source) unchanged() error {
	now, err := os.Lstat(s.path)
	switch {
	case os.IsNotExist(err):
		return errChanged
	case err != nil:
		return err
	case !os.SameFile(now, s.info), now.Size() != s.info.Size(),
		now.Mode() != s.info.Mode(), !now.ModTime().Equal(s.info.ModTime()):
		return errChanged
	}
	return nil
}

// meter reads until its context ends, and tells of each read.
type meter struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no other place for it
	src  io.Reader
	read func(n int)
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.src.Read(p)
	m.read(n)
	return n, err
}
