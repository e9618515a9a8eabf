package reencrypt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// tinyScanner has a chunk so small that everything spans chunks.
func tinyScanner(chunk, maxToken int) *scanner {
	return &scanner{chunk: make([]byte, chunk), maxToken: maxToken}
}

// scanAll answers the tokens and look-alikes ("line kind: bytes"), and fails if
// the pieces are not the stream.
func scanAll(t testing.TB, s *scanner, src io.Reader, want string) []string {
	t.Helper()
	var all bytes.Buffer
	var found []string
	for s.reset(src); ; {
		p, err := s.next()
		if atEnd(err) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(p.bytes) == 0 {
			t.Fatal("empty piece")
		}
		all.Write(p.bytes)
		switch p.kind {
		case text:
		case token:
			found = append(found, fmt.Sprintf("%d token %s v%d: %s", p.line, p.parts.Key, p.parts.Version, p.bytes))
		case lookalike:
			if !errors.Is(p.err, keyring.ErrMalformed) || string(p.bytes) != keyring.TokenPrefix {
				t.Fatalf("look-alike %q with error %v", p.bytes, p.err)
			}
			if errors.Is(p.err, errAdjacent) {
				found = append(found, adjacent(p.line))
			} else {
				found = append(found, malformed(p.line))
			}
		}
	}
	if all.String() != want {
		t.Fatalf("pieces are %.300q, the stream is %.300q", all.String(), want)
	}
	return found
}

var (
	tokenA = old("a")
	tokenB = fakeToken("billing", 4294967295, "some longer value", "")
)

func foundA(line int) string {
	return fmt.Sprintf("%d token payments v1: %s", line, tokenA)
}

func foundB(line int) string {
	return fmt.Sprintf("%d token billing v4294967295: %s", line, tokenB)
}

func malformed(line int) string { return fmt.Sprintf("%d malformed", line) }

func adjacent(line int) string { return fmt.Sprintf("%d adjacent", line) }

var scanCases = []struct {
	name, in string
	want     []string
}{
	{"empty", "", nil},
	{"text only", "a\nb\n", nil},
	{"token only", tokenA, []string{foundA(1)}},
	{"lines", "\ufeffx\r\nA=" + tokenA + "\r\n\nB: \"" + tokenB + "\"", []string{foundA(2), foundB(4)}},
	{"after any byte", "%3D" + tokenA + "%" + "_" + tokenA + "\xff", []string{foundA(1), foundA(1)}},
	{"one separator", tokenA + "," + tokenB + "\n", []string{foundA(1), foundB(1)}},
	{"prose", "keyrotor: the tool, keyrotor:latest\" keyrotor:<key>:v<N>: keyrotor", nil},
	{"prefix at the end", "x keyrotor:", nil},
	{"half a prefix", "keyrot", nil},
	{"prefix twice", "keykeyrotor: keyrotor" + tokenA, []string{foundA(1)}},
	{"look-alike before a token", "keyrotor:x" + tokenA, []string{malformed(1), foundA(1)}},
	{"name at its longest", "keyrotor:" + strings.Repeat("n", 63) + ":v1:", []string{malformed(1)}},
	{"name too long", "keyrotor:" + strings.Repeat("n", 64) + ":v1:", nil},
	{"no name", "keyrotor::", []string{malformed(1)}},
	{"upper case", strings.Replace(tokenA, "payments", "Payments", 1), []string{malformed(1)}},
	{"underscore", "\nkeyrotor:a_b:v1:AAAA", []string{malformed(2)}},
	{"no version", "keyrotor:payments:", []string{malformed(1)}},
	{"no payload", "keyrotor:payments:v1 ", []string{malformed(1)}},
	{"version zero", strings.Replace(tokenA, ":v1:", ":v0:", 1), []string{malformed(1)}},
	{"version too large", strings.Replace(tokenA, ":v1:", ":v4294967296:", 1), []string{malformed(1)}},
	{"version much too long", strings.Replace(tokenA, ":v1:", ":v"+strings.Repeat("1", 99)+":", 1), []string{malformed(1)}},
	{"cut off", tokenA[:len(tokenA)-4] + "\n", []string{malformed(1)}},
	{"broken by a line break", tokenA[:30] + "\n" + tokenA[30:], []string{malformed(1)}},
	{"token within a look-alike", "keyrotor:" + tokenA, []string{malformed(1), foundA(1)}},
	{"no separator", tokenA + tokenB, []string{adjacent(1), foundB(1)}},
	{"no separator and no token", tokenA + "keyrotor: x", []string{adjacent(1)}},
}

func TestScan(t *testing.T) {
	for _, c := range scanCases {
		t.Run(c.name, func(t *testing.T) {
			whole := newScanner()
			check := func(how string, s *scanner, src io.Reader) {
				t.Helper()
				if got := scanAll(t, s, src, c.in); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
					t.Errorf("%s: found\n%q, want\n%q", how, got, c.want)
				}
			}
			check("at once", whole, strings.NewReader(c.in))
			check("byte by byte", whole, iotest.OneByteReader(strings.NewReader(c.in)))
			check("data with EOF", whole, iotest.DataErrReader(strings.NewReader(c.in)))
			check("tiny chunk", tinyScanner(1, keyring.MaxTokenLen), strings.NewReader(c.in))
			for i := range len(c.in) + 1 {
				check(fmt.Sprintf("split at %d", i), whole,
					io.MultiReader(strings.NewReader(c.in[:i]), strings.NewReader(c.in[i:])))
			}
		})
	}
}

// randomReader reads as many bytes as it likes, none at times.
type randomReader struct {
	src io.Reader
	rnd *rand.Rand
	max int
}

func (r *randomReader) Read(p []byte) (int, error) {
	return r.src.Read(p[:min(len(p), r.rnd.IntN(r.max+1))])
}

func TestScanIsTheSameHoweverItIsRead(t *testing.T) {
	var b strings.Builder
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		c := scanCases[rnd.IntN(len(scanCases))]
		b.WriteString(c.in)
		b.WriteString(strings.Repeat("\n", rnd.IntN(3)))
		b.WriteString(strings.Repeat("k", rnd.IntN(40)))
	}
	in := b.String()
	want := scanAll(t, newScanner(), strings.NewReader(in), in)
	if len(want) < 300 {
		t.Fatalf("only %d tokens in the sample", len(want))
	}
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		s := tinyScanner(1+rnd.IntN(300), keyring.MaxTokenLen)
		got := scanAll(t, s, &randomReader{src: strings.NewReader(in), rnd: rnd, max: 1 + rnd.IntN(500)}, in)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("seed %d finds something else", seed)
		}
	}
}

func TestScanTokenLongerThanAny(t *testing.T) {
	const longest = 300
	head := "keyrotor:payments:v1:AQEB" // format 1, as the parser wants it
	for _, extra := range []int{0, 1, 5000} {
		in := "x " + head + strings.Repeat("A", longest+extra-len(head)) + " " + tokenA
		got := scanAll(t, tinyScanner(64, longest), strings.NewReader(in), in)
		if len(got) != 2 || got[1] != foundA(1) {
			t.Fatalf("%d too long: found %q", extra, got)
		}
		if isToken := strings.HasPrefix(got[0], "1 token"); isToken != (extra == 0) {
			t.Errorf("%d too long: found %.80q", extra, got[0])
		}
	}
}

func TestScanBufferNeverOutgrowsOneToken(t *testing.T) {
	const chunk, longest = 64, 300
	s := tinyScanner(chunk, longest)
	in := strings.Repeat("keyrotor:payments:v1:"+strings.Repeat("A", 5000)+":"+tokenA+" ", 20)
	s.reset(strings.NewReader(in))
	for {
		if _, err := s.next(); err != nil {
			break
		}
		if len(s.buf) > longest+2*chunk {
			t.Fatalf("buffer of %d bytes", len(s.buf))
		}
	}
}

func TestScanAnswersTheReadersError(t *testing.T) {
	broken := errors.New("broken disk")
	s := newScanner()
	// The token is whole as far as it was read, but nobody knows what follows.
	s.reset(io.MultiReader(strings.NewReader(tokenA), iotest.ErrReader(broken)))
	if p, err := s.next(); !errors.Is(err, broken) {
		t.Fatalf("next() = %v %q, %v; want the reader's error", p.kind, p.bytes, err)
	}
	s.reset(&randomReader{src: strings.NewReader("x"), rnd: rand.New(rand.NewPCG(1, 1)), max: 0})
	if _, err := s.next(); !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("a reader that reads nothing: %v", err)
	}
}

func TestScanSeesNUL(t *testing.T) {
	for in, want := range map[string]bool{"a\x00": true, tokenA + "\x00": true, tokenA: false, "0\n": false} {
		s := newScanner()
		scanAll(t, s, iotest.OneByteReader(strings.NewReader(in)), in)
		if s.nul != want {
			t.Errorf("nul of %q is %v", in, s.nul)
		}
	}
}

// pattern is an endless stream of lines with a token here and there.
type pattern struct {
	left int64
	unit string
	at   int
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.left)]
	n := copy(b, p.unit[p.at:])
	p.at = (p.at + n) % len(p.unit)
	p.left -= int64(n)
	return n, nil
}

func TestScanMemoryIsConstant(t *testing.T) {
	s := newScanner()
	unit := strings.Repeat("a line of text, k and key and keyrotor\n", 5000) + strings.Repeat("long ", 100_000) + tokenA + " "
	s.reset(&pattern{left: 256 << 20, unit: unit})
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	tokens := 0
	for {
		p, err := s.next()
		if atEnd(err) {
			break
		}
		if p.kind == token {
			tokens++
		}
	}
	runtime.ReadMemStats(&now)
	if want := int(256 << 20 / int64(len(unit))); tokens != want {
		t.Errorf("%d tokens, want %d", tokens, want)
	}
	if grown := now.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("scanning 256 MiB allocated %d bytes", grown)
	}
}

func TestScanGivesAGiantsBufferBack(t *testing.T) {
	s := newScanner()
	giant := old(strings.Repeat("x", 1<<20))
	in := giant + " " + strings.Repeat("text ", 4*chunkSize)
	got := scanAll(t, s, strings.NewReader(in), in)
	if len(got) != 1 || !strings.HasSuffix(got[0], giant) {
		t.Fatal("the giant token was not found")
	}
	if len(s.buf) != chunkSize {
		t.Errorf("buffer still has %d bytes", len(s.buf))
	}
}

func TestScanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(
			rapid.String(),
			rapid.SampledFrom([]string{"keyrotor", ":", "keyrotor:", "v1", "payments", "\n", "\r\n", "A", "-", "."}),
			rapid.Custom(func(t *rapid.T) string { return old(rapid.String().Draw(t, "plaintext")) }),
		), 0, 20).Draw(t, "parts")
		in := strings.Join(parts, "")
		var whole, tiny []string
		whole = collect(newScanner(), in)
		tiny = collect(tinyScanner(rapid.IntRange(1, 100).Draw(t, "chunk"), keyring.MaxTokenLen), in)
		if strings.Join(whole, "\x00") != strings.Join(tiny, "\x00") {
			t.Fatalf("chunks matter: %q, %q", whole, tiny)
		}
	})
}

// collect answers the pieces, neighbouring text joined.
func collect(s *scanner, in string) []string {
	out := []string{""}
	for s.reset(strings.NewReader(in)); ; {
		p, err := s.next()
		if err != nil {
			return out
		}
		if p.kind == text {
			out[len(out)-1] += string(p.bytes)
			continue
		}
		out = append(out, fmt.Sprint(p.kind, p.line, string(p.bytes)), "")
	}
}

// looksLikeToken is the rule for look-alikes, said another way.
var looksLikeToken = regexp.MustCompile(`keyrotor:[A-Za-z0-9._-]{0,63}:`)

func FuzzScan(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(c.in), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, chunk uint8) {
		whole := collect(newScanner(), string(in))
		tiny := collect(tinyScanner(int(chunk)+1, keyring.MaxTokenLen), string(in))
		if strings.Join(whole, "\x00") != strings.Join(tiny, "\x00") {
			t.Fatalf("chunks matter: %q, %q", whole, tiny)
		}
		found := scanAll(t, newScanner(), bytes.NewReader(in), string(in))
		if len(found) > 0 != looksLikeToken.Match(in) {
			t.Fatalf("found %q", found)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	for name, unit := range map[string]string{
		"text":   strings.Repeat("a line of text, key: value and so on\n", 2000),
		"tokens": strings.Repeat("PASSWORD="+old("a password of some length")+"\n", 100),
	} {
		b.Run(name, func(b *testing.B) {
			s := newScanner()
			const size = 64 << 20
			b.SetBytes(size)
			for b.Loop() {
				s.reset(&pattern{left: size, unit: unit})
				for {
					if _, err := s.next(); err != nil {
						break
					}
				}
			}
		})
	}
}
