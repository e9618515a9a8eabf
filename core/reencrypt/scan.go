package reencrypt

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// kind says what a piece of a stream is.
type kind uint8

const (
	// text is anything outside of tokens.
	text kind = iota
	// token is structurally valid; whether it decrypts is for the keys to say.
	token
	// lookalike is the prefix of what looks like a token and is none. What
	// follows the prefix comes in pieces of its own, since a token may stand in it.
	lookalike
)

// piece is the next part of a stream. The pieces' bytes, one after the other, are
// the stream.
type piece struct {
	kind  kind
	bytes []byte // valid until the next call of next
	line  int    // the line that it begins on, from 1
	// parts are also those of a lookalike that is a token but for its end.
	parts keyring.Token
	err   error // of a lookalike: keyring.ErrMalformed and why
}

const (
	// chunkSize is how much is read at once.
	chunkSize = 256 << 10
	// maxLabel bounds how far a version is looked for: further than any version
	// is long, so that the parser sees what is wrong with a longer one.
	maxLabel = 32
)

// prefix is shared by all scanners and only read.
var prefix = []byte(keyring.TokenPrefix)

var errAdjacent = fmt.Errorf("%w: another token follows without a separator, so the end of this one is not known; put a space or a line break between them", keyring.ErrMalformed)

// scanner splits a stream into text and tokens. It holds one chunk, or one token
// where that is longer.
type scanner struct {
	src   io.Reader
	chunk []byte // the buffer of ordinary size, kept while a longer one is in use
	buf   []byte
	r, w  int // buf[r:w] is read and not yet handed out
	// run is how much of a candidate at r is known already, so that a token which
	// comes in many reads is looked at once.
	run  int
	line int
	err  error // from src; io.EOF at the end
	// nul reports that what was read so far has a NUL byte.
	nul      bool
	maxToken int
}

func newScanner() *scanner {
	chunk := make([]byte, chunkSize)
	return &scanner{chunk: chunk, maxToken: keyring.MaxTokenLen}
}

// reset starts over with another stream.
func (s *scanner) reset(src io.Reader) {
	*s = scanner{src: src, chunk: s.chunk, buf: s.chunk, line: 1, maxToken: s.maxToken}
}

// next answers the next piece; io.EOF after the last, or the reader's error.
func (s *scanner) next() (piece, error) {
	for {
		if s.err != nil && !atEnd(s.err) {
			return piece{}, s.err // and no part of a token as if it were whole
		}
		window := s.buf[s.r:s.w]
		switch at := bytes.Index(window, prefix); {
		case at > 0:
			return s.take(text, at), nil
		case at == 0:
			if p, ok := s.candidate(window); ok {
				return p, nil
			}
		case s.err != nil && len(window) > 0:
			return s.take(text, len(window)), nil
		case len(window) >= len(prefix):
			// The last bytes may begin a prefix that the next read completes.
			return s.take(text, len(window)-len(prefix)+1), nil
		case s.err != nil:
			return piece{}, s.err
		}
		s.fill()
	}
}

// tokens calls f with each token and look-alike of the stream.
func (s *scanner) tokens(f func(piece)) error {
	for {
		p, err := s.next()
		if atEnd(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.kind != text {
			f(p)
		}
	}
}

// take hands out the next n bytes.
func (s *scanner) take(k kind, n int) piece {
	p := piece{kind: k, bytes: s.buf[s.r : s.r+n], line: s.line}
	s.r += n
	s.run = 0
	if k == text {
		s.line += bytes.Count(p.bytes, []byte{'\n'})
	}
	return p
}

// candidate decides what the prefix at the start of window introduces. It
// answers false if more of the stream must be read to know.
func (s *scanner) candidate(window []byte) (piece, bool) {
	n := span(window, len(prefix), len(prefix)+keyring.MaxNameLen, isNameLike)
	if n == len(window) && s.err == nil {
		return piece{}, false
	}
	if n == len(window) || window[n] != ':' {
		return s.take(text, len(prefix)), true // prose that happens to name us
	}
	n = span(window, n+1, n+1+maxLabel, keyring.IsPayloadByte)
	if n == len(window) && s.err == nil {
		return piece{}, false
	}
	if n < len(window) && window[n] == ':' {
		n = span(window, max(n+1, s.run), s.maxToken+1, keyring.IsPayloadByte)
		s.run = n
		if n == len(window) && n <= s.maxToken && s.err == nil {
			return piece{}, false
		}
	}
	return s.verdict(window, n), true
}

// verdict tells a token, the first n bytes of window, from a look-alike.
func (s *scanner) verdict(window []byte, n int) piece {
	parts, err := keyring.ParseToken(window[:n])
	switch {
	case n > s.maxToken:
		err = fmt.Errorf("%w: longer than any token", keyring.ErrMalformed)
	case err == nil && s.adjacent(window, n):
		err = errAdjacent
	}
	if err != nil {
		p := s.take(lookalike, len(prefix))
		p.parts, p.err = parts, err
		return p
	}
	p := s.take(token, n)
	p.parts = parts
	return p
}

// adjacent reports whether the token window[:n] has swallowed the beginning of
// another, whose prefix is in the alphabet but for its colon.
func (s *scanner) adjacent(window []byte, n int) bool {
	return n < len(window) && window[n] == ':' && bytes.HasSuffix(window[:n], prefix[:len(prefix)-1])
}

// span answers the end of the run of bytes that match, from start and no further
// than limit.
func span(b []byte, start, limit int, match func(byte) bool) int {
	for limit = min(limit, len(b)); start < limit && match(b[start]); {
		start++
	}
	return start
}

// isNameLike is wider than the alphabet of names: a token in which somebody
// changed the case of a key's name is to be reported, not passed over.
func isNameLike(c byte) bool { return keyring.IsPayloadByte(c) || c == '.' }

// fill reads once.
func (s *scanner) fill() {
	s.makeRoom()
	for range 100 {
		n, err := s.src.Read(s.buf[s.w:])
		if bytes.IndexByte(s.buf[s.w:s.w+n], 0) >= 0 {
			s.nul = true
		}
		s.w += n
		s.err = err
		if n > 0 || err != nil {
			return
		}
	}
	s.err = io.ErrNoProgress
}

// makeRoom moves what is left to the start of a buffer that has room behind it:
// the chunk where that suffices, else one that grows up to the longest token.
func (s *scanner) makeRoom() {
	if s.w < len(s.buf) {
		return
	}
	left := s.buf[s.r:s.w]
	switch longest := s.maxToken + 2*len(s.chunk); {
	case len(left) <= len(s.chunk)/2:
		s.buf = s.chunk
	case len(left) > len(s.buf)/2 && len(s.buf) < longest:
		s.buf = make([]byte, min(2*len(s.buf), longest))
	}
	s.r, s.w = 0, copy(s.buf, left)
}

// atEnd reports whether err only says that the stream is over.
func atEnd(err error) bool { return errors.Is(err, io.EOF) }
