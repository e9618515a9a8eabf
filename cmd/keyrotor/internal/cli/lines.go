package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lineReader reads lines in memory of its own, which it can wipe: that of the longest
// one so far. Only the line feed is taken off; a last line without one counts.
type lineReader struct {
	src   io.Reader
	limit int
	buf   []byte
	// buf[start:end] is read and not yet handed out, and has no line feed before seen.
	start, seen, end int
	err              error // of src
	// number is that of the current line, from 1.
	number int
}

func newLineReader(src io.Reader, limit int) *lineReader {
	return &lineReader{src: src, limit: limit, buf: make([]byte, copySize)}
}

// next answers the next line, which is valid until the next call; io.EOF after
// the last one.
func (l *lineReader) next() ([]byte, error) {
	for !l.whole() {
		switch {
		case l.end-l.start > l.limit:
			return l.take(l.end, l.end)
		case l.err == nil:
			l.fill()
		case !errors.Is(l.err, io.EOF):
			return nil, fmt.Errorf("read standard input: %w", l.err)
		case l.start < l.end:
			return l.take(l.end, l.end)
		default:
			return nil, io.EOF
		}
	}
	return l.take(l.seen, l.seen+1)
}

// whole reports whether a line is there to its line feed, at seen.
func (l *lineReader) whole() bool {
	at := bytes.IndexByte(l.buf[l.seen:l.end], '\n')
	if at < 0 {
		l.seen = l.end
		return false
	}
	l.seen += at
	return true
}

// take hands the line out that ends at end, and goes on at next.
func (l *lineReader) take(end, next int) ([]byte, error) {
	line := l.buf[l.start:end]
	l.start, l.seen = next, next
	l.number++
	if len(line) > l.limit {
		return nil, fmt.Errorf("%w: line %d is over %d bytes", errTooLarge, l.number, l.limit)
	}
	return line, nil
}

func (l *lineReader) fill() {
	if l.end == len(l.buf) {
		l.makeRoom()
	}
	n, err := l.src.Read(l.buf[l.end:])
	l.end += n
	l.err = err
}

// makeRoom moves what is left to the start of the buffer, or of a longer one; then it
// wipes the one that it leaves.
func (l *lineReader) makeRoom() {
	left, to := l.buf[l.start:l.end], l.buf
	if len(left) > len(l.buf)/2 {
		to = make([]byte, 2*len(l.buf))
		defer clear(l.buf)
	}
	l.buf, l.start, l.seen, l.end = to, 0, l.seen-l.start, copy(to, left)
}

// waits reports whether the next line is not there to its end, so that what was
// written so far should go out.
func (l *lineReader) waits() bool { return l.err == nil && !l.whole() }

// wipe overwrites what the reader holds.
func (l *lineReader) wipe() { clear(l.buf) }

// lineWriter writes one thing a line, or one element of a JSON list. It wipes what
// it holds back once that is written.
type lineWriter struct {
	w    io.Writer
	json bool
	buf  []byte
	err  error // the first of w
	// count is how much was put.
	count int
	slots int
}

// newLineWriter begins an answer; in JSON, name is the list's.
func newLineWriter(w io.Writer, json bool, name string) *lineWriter {
	l := &lineWriter{w: w, json: json, buf: make([]byte, 0, copySize)}
	if json {
		l.write(fmt.Appendf(nil, `{"%s":[`, name))
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
		l.write([]byte(","))
	}
	l.slots++
	l.write(b)
	if !l.json {
		l.write([]byte("\n"))
	}
	return l.err
}

// write holds b back until there is no more room. Whoever comes last looks at err.
func (l *lineWriter) write(b []byte) {
	if len(l.buf)+len(b) > cap(l.buf) {
		_ = l.flush() // err keeps its error
	}
	if len(b) > cap(l.buf) {
		l.pass(b)
		return
	}
	l.buf = append(l.buf, b...)
}

// pass writes, unless that has failed before.
func (l *lineWriter) pass(b []byte) {
	if l.err == nil && len(b) > 0 {
		_, l.err = l.w.Write(b)
	}
}

func (l *lineWriter) flush() error {
	l.pass(l.buf)
	clear(l.buf)
	l.buf = l.buf[:0]
	return l.err
}

// close ends the answer; in JSON, with further fields after the list.
func (l *lineWriter) close(fields ...string) error {
	if l.json {
		l.write([]byte("]"))
		for _, f := range fields {
			l.write([]byte("," + f))
		}
		l.write([]byte("}\n"))
	}
	return l.flush()
}
