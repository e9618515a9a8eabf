package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lineReader reads lines in constant memory: that of the longest one so far. Only
// the line feed is taken off; a last line without one counts.
type lineReader struct {
	r     *bufio.Reader
	limit int
	buf   []byte
	// number is that of the current line, from 1.
	number int
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, copySize), limit: limit}
}

// next answers the next line, which is valid until the next call; io.EOF after
// the last one.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.grow(len(part))
		l.buf = append(l.buf, part...)
		switch {
		case err == nil:
			l.number++
			return l.checked(bytes.TrimSuffix(l.buf, []byte("\n")))
		case errors.Is(err, bufio.ErrBufferFull):
			if len(l.buf) > l.limit {
				l.number++
				return l.checked(l.buf)
			}
		case errors.Is(err, io.EOF) && len(l.buf) > 0:
			l.number++
			return l.checked(l.buf)
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("read standard input: %w", err)
		}
	}
}

func (l *lineReader) checked(line []byte) ([]byte, error) {
	if len(line) > l.limit {
		return nil, fmt.Errorf("%w: line %d is over %d bytes", errTooLarge, l.number, l.limit)
	}
	return line, nil
}

// grow makes room for n more bytes and wipes the buffer that it leaves.
func (l *lineReader) grow(n int) {
	if cap(l.buf)-len(l.buf) >= n {
		return
	}
	bigger := make([]byte, len(l.buf), 2*cap(l.buf)+n)
	copy(bigger, l.buf)
	clear(l.buf)
	l.buf = bigger
}

// waits reports whether the next line is not there yet, so that what was written
// so far should go out.
func (l *lineReader) waits() bool { return l.r.Buffered() == 0 }

// wipe overwrites what the reader holds.
func (l *lineReader) wipe() { clear(l.buf[:cap(l.buf)]) }

// lineWriter writes one thing a line, or one element of a JSON list.
type lineWriter struct {
	w    *bufio.Writer
	json bool
	// count is how much was put.
	count int
	slots int
}

// newLineWriter begins an answer; in JSON, name is the list's.
func newLineWriter(w io.Writer, json bool, name string) *lineWriter {
	l := &lineWriter{w: bufio.NewWriterSize(w, copySize), json: json}
	if json {
		// A bufio.Writer keeps its first error; flush answers it.
		_, _ = fmt.Fprintf(l.w, `{"%s":[`, name)
	}
	return l
}

// put writes the thing that belongs to the next line of the input. In JSON it
// must need no escaping.
func (l *lineWriter) put(b []byte) error {
	l.count++
	if !l.json {
		return l.slot(b)
	}
	quoted := append(append([]byte{'"'}, b...), '"')
	defer clear(quoted)
	return l.slot(quoted)
}

// skip keeps the place of a line that came to nothing, so that line n of the
// answer always belongs to line n of the input.
func (l *lineWriter) skip() error {
	if l.json {
		return l.slot([]byte("null"))
	}
	return l.slot(nil)
}

func (l *lineWriter) slot(b []byte) error {
	if l.json && l.slots > 0 {
		_ = l.w.WriteByte(',')
	}
	l.slots++
	_, err := l.w.Write(b)
	if err == nil && !l.json {
		err = l.w.WriteByte('\n')
	}
	return err
}

func (l *lineWriter) flush() error { return l.w.Flush() }

// close ends the answer; in JSON, with further fields after the list.
func (l *lineWriter) close(fields ...string) error {
	if l.json {
		_ = l.w.WriteByte(']')
		for _, f := range fields {
			_, _ = l.w.WriteString("," + f)
		}
		_, _ = l.w.WriteString("}\n")
	}
	return l.w.Flush()
}
