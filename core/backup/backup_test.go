package backup

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// managers answers key managers by name.
type managers map[string]*faults.KeyManager

func (m managers) keyManager(name string) (wrapping.KeyManager, error) {
	if km, ok := m[name]; ok {
		return km, nil
	}
	return nil, fmt.Errorf("no provider %q", name)
}

var created = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func (m managers) wrapper() wrapping.Wrapper {
	return wrapping.Wrapper{KeyManager: m.keyManager, Now: func() time.Time { return created }}
}

// source is a copy of some size, with bytes that repeat nowhere.
func source(size int) ([]byte, Source) {
	copied := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(size)})
	_, _ = random.Read(copied)
	return copied, Source{
		Store: keyring.StoreID{1, 2}, Content: bytes.NewReader(copied), Size: uint64(size),
		LogSize: 7, LogRoot: tlog.RecordHash([]byte("log")), Writer: "1.2.3",
	}
}

// written is a backup of a copy of some size.
func (m managers) written(t testing.TB, size int, providers ...string) (file, copied []byte, h Header) {
	t.Helper()
	copied, s := source(size)
	var b bytes.Buffer
	h, err := Write(t.Context(), &b, s, m.wrapper(), providers)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), copied, h
}

// read is the copy in a file, and what reading it ended with.
func (m managers) read(ctx context.Context, file io.Reader) ([]byte, error) {
	b, err := Read(file)
	if err != nil {
		return nil, err
	}
	r, err := b.Open(ctx, m.keyManager)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestRoundTrip(t *testing.T) {
	m := managers{"a": faults.NewLocal(t), "b": faults.NewLocal(t)}
	for _, size := range []int{1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 2 * ChunkSize, 2*ChunkSize + 4096} {
		file, copied, h := m.written(t, size, "a", "b")
		b, err := Read(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(b.Header) != fmt.Sprint(h) || h.Created != created || h.ID == (keyring.KeyID{}) {
			t.Errorf("the header is %+v, and was written as %+v", b.Header, h)
		}
		for name, from := range map[string]io.Reader{"at once": bytes.NewReader(file), "in pieces": iotest.HalfReader(bytes.NewReader(file))} {
			if got, err := m.read(t.Context(), from); err != nil || !bytes.Equal(got, copied) {
				t.Errorf("%d bytes, %s: read %d, %v", size, name, len(got), err)
			}
		}
		if bytes.Contains(file, copied[:min(16, size)]) && size > 1 {
			t.Errorf("%d bytes: the copy shows", size)
		}
	}
}

// TestAnyProviderOpens: each wrap alone suffices, in whichever order they fail.
func TestAnyProviderOpens(t *testing.T) {
	m := managers{"a": faults.NewLocal(t), "b": faults.NewLocal(t)}
	file, copied, _ := m.written(t, 100, "a", "b")
	for _, name := range []string{"a", "b"} {
		if got, err := (managers{name: m[name]}).read(t.Context(), bytes.NewReader(file)); err != nil || !bytes.Equal(got, copied) {
			t.Errorf("with %s alone: %d bytes, %v", name, len(got), err)
		}
	}
	m["a"].Before(func(context.Context, string) error { return provider.Errorf(provider.Unavailable, "a is down") })
	if got, err := m.read(t.Context(), bytes.NewReader(file)); err != nil || !bytes.Equal(got, copied) {
		t.Errorf("with one down: %d bytes, %v", len(got), err)
	}
	_, err := managers{"a": m["a"]}.read(t.Context(), bytes.NewReader(file))
	if !errors.Is(err, provider.Unavailable) || !strings.Contains(err.Error(), `"a" with "`) || !strings.Contains(err.Error(), `no provider "b"`) {
		t.Errorf("with none: %v", err)
	}
	other := managers{"a": faults.NewLocal(t)}
	if _, err := other.read(t.Context(), bytes.NewReader(file)); err == nil {
		t.Error("another key manager's KEK opened it")
	}
}

// TestRootIsNotInTheFile: nor is it what anybody can read off it.
func TestRootIsNotInTheFile(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	var root []byte
	m["a"].OnUnwrap(func(r []provider.UnwrapResult) { root = bytes.Clone(r[0].Plaintext.Reveal()) })
	file, _, _ := m.written(t, 100, "a")
	if len(root) != keyring.RootSize {
		t.Fatalf("a root of %d bytes", len(root))
	}
	for _, form := range []string{string(root), hex.EncodeToString(root), base64.StdEncoding.EncodeToString(root)} {
		if bytes.Contains(file, []byte(form)) {
			t.Errorf("the root is in the file: %q", form)
		}
	}
}

// TestForged: whoever cannot make the key manager wrap a root of his own makes no
// backup that opens, not even with one that the key manager does wrap for others.
func TestForged(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	_, s := source(100)
	h := Header{ID: keyring.KeyID{5}, Store: s.Store, Created: created, Size: 100, Wraps: []keyring.Wrap{{Provider: "a", KEKID: "x", Blob: []byte("blob")}}}
	root := keyring.GenerateRoot()
	forge := func() error {
		h.KCV, _ = root.KCV(binding(h.Store, h.ID))
		var b bytes.Buffer
		if err := write(t.Context(), &b, h, root, s.Content); err != nil {
			t.Fatal(err)
		}
		_, err := m.read(t.Context(), &b)
		return err
	}
	if err := forge(); err == nil {
		t.Error("an invented wrap opened")
	}
	_, s = source(100)
	_, _, genuine := m.written(t, 10, "a")
	h.Wraps = genuine.Wraps // of another backup
	if err := forge(); err == nil {
		t.Error("another backup's wrap opened")
	}
	_, s = source(100)
	h.ID = genuine.ID // whose root is not the one that encrypts
	if err := forge(); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("under another root: %v", err)
	}
}

// parts cuts a backup after its header and after each chunk.
func parts(t *testing.T, file []byte) [][]byte {
	t.Helper()
	end := preamble + int(binary.BigEndian.Uint32(file[preamble-4:]))
	list := [][]byte{file[:end]}
	for file = file[end:]; len(file) > 0; file = file[end:] {
		end = 4 + int(binary.BigEndian.Uint32(file))
		list = append(list, file[:end])
	}
	return list
}

// TestAltered: nothing but what was written opens, and nothing of a piece that is
// not authentic comes out.
func TestAltered(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	file, copied, h := m.written(t, 3*ChunkSize+5, "a")
	p := parts(t, file)
	if len(p) != 5 {
		t.Fatalf("%d parts", len(p))
	}
	other := parts(t, func() []byte { f, _, _ := m.written(t, 3*ChunkSize+5, "a"); return f }())
	shorter := parts(t, func() []byte { f, _, _ := m.written(t, 2*ChunkSize+5, "a"); return f }())
	join := slices.Concat[[]byte]
	edited := func(from, to string) []byte {
		head := bytes.Replace(p[0][preamble:], []byte(from), []byte(to), 1)
		if bytes.Equal(head, p[0][preamble:]) {
			t.Fatalf("the header has no %s", from)
		}
		b := append([]byte(magic), Format)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(head))), head...)
		return join(append([][]byte{b}, p[1:]...)...)
	}
	cases := map[string][]byte{
		"empty":                {},
		"swapped":              join(p[0], p[2], p[1], p[3], p[4]),
		"repeated":             join(p[0], p[1], p[1], p[3], p[4]),
		"first left out":       join(p[0], p[2], p[3], p[4]),
		"middle left out":      join(p[0], p[1], p[3], p[4]),
		"last left out":        join(p[0], p[1], p[2], p[3]),
		"header alone":         p[0],
		"last one twice":       join(file, p[4]),
		"a byte more":          append(slices.Clone(file), 0),
		"spliced chunk":        join(p[0], p[1], other[2], p[3], p[4]),
		"spliced end":          join(p[0], p[1], p[2], p[3], other[4]),
		"another's header":     join(other[0], p[1], p[2], p[3], p[4]),
		"shorter one's end":    join(p[0], p[1], p[2], shorter[3]),
		"shorter one's header": join(shorter[0], p[1], p[2], p[4]),
		"store id":             edited(h.Store.String(), keyring.StoreID{9}.String()),
		"time":                 edited("2026-03-01", "2026-03-02"),
		"writer":               edited("1.2.3", "1.2.4"),
		"log size":             edited(`"log_size":7`, `"log_size":8`),
		"size":                 edited(fmt.Sprint(3*ChunkSize+5), fmt.Sprint(3*ChunkSize+4)),
		"size of fewer chunks": edited(fmt.Sprint(3*ChunkSize+5), fmt.Sprint(2*ChunkSize+5)),
		"a field more":         edited(`{"format"`, `{"x":1,"format"`),
		"white space":          edited(`{"format"`, `{ "format"`),
	}
	for name, altered := range cases {
		got, err := m.read(t.Context(), bytes.NewReader(altered))
		if err == nil {
			t.Errorf("%s: opened", name)
		}
		if !bytes.HasPrefix(copied, got) {
			t.Errorf("%s: something came out that was not written", name)
		}
	}
}

// TestFlips alters one byte at a time: each of the header and of what frames the
// chunks, and some of every other region.
func TestFlips(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	file, _, _ := m.written(t, ChunkSize+100, "a")
	p := parts(t, file)
	var places []int
	for start, i := 0, 0; i < len(p); start, i = start+len(p[i]), i+1 {
		framed := 4 + 16 + 12 // length, header, nonce
		if i == 0 {
			framed = len(p[0])
		}
		for at := range framed {
			places = append(places, start+at)
		}
		for at := framed; at < len(p[i]); at += max(1, len(p[i])/20) {
			places = append(places, start+at)
		}
		places = append(places, start+len(p[i])-1)
	}
	codes := map[string]int{}
	flip := func(at int) byte { return 1 << (at % 2 * 5) } // of a digit, or of a letter's case
	for _, at := range places {
		file[at] ^= flip(at)
		got, err := m.read(t.Context(), bytes.NewReader(file))
		file[at] ^= flip(at)
		var refused *provider.Error
		switch {
		case err == nil:
			t.Fatalf("byte %d of %d: opened, %d bytes", at, len(file), len(got))
		case errors.Is(err, ErrDamaged):
			codes["damaged"]++
		case errors.Is(err, keyring.ErrNewer):
			codes["newer"]++
		case errors.As(err, &refused):
			codes["key manager"]++
		case strings.Contains(err.Error(), "no provider"):
			codes["no provider"]++
		case errors.Is(err, keyring.ErrIntegrity):
			codes["integrity"]++
		default:
			t.Errorf("byte %d: %v", at, err)
		}
	}
	if codes["damaged"] < 100 || codes["newer"] != 1 || codes["key manager"] == 0 || codes["integrity"] == 0 {
		t.Errorf("%v", codes)
	}
}

// TestCutOff: a file that ends early, at any place, says so.
func TestCutOff(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	file, _, _ := m.written(t, ChunkSize+100, "a")
	p := parts(t, file)
	var places []int
	for at := 0; at < len(p[0]); at += 5 {
		places = append(places, at)
	}
	for near := -6; near < 40; near++ { // beyond a chunk's own header
		places = append(places, len(p[0])+near, len(p[0])+len(p[1])+near)
	}
	for _, at := range append(places, len(file)/2, len(file)-17, len(file)-1) {
		_, err := m.read(t.Context(), bytes.NewReader(file[:at]))
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut off after %d of %d bytes: %v", at, len(file), err)
		}
	}
}

// TestHostileLengths: a length is believed only as far as it can be true.
func TestHostileLengths(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	file, _, _ := m.written(t, 100, "a")
	p := parts(t, file)
	head := append([]byte(magic), Format, 0xff, 0xff, 0xff, 0xff)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"header":       {head, "its header claims 4294967295 bytes, and may have 1048576"},
		"chunk":        {slices.Concat(p[0], []byte{0xff, 0xff, 0xff, 0xff}), "chunk 1 claims 4294967295 bytes, and may have 1048640"},
		"small chunk":  {slices.Concat(p[0], binary.BigEndian.AppendUint32(nil, 200), make([]byte, 200)), "chunk 1 claims 200 bytes, which is more than is left"},
		"empty chunk":  {slices.Concat(p[0], make([]byte, 4)), "chunk 1 was altered, or belongs elsewhere"},
		"empty header": {append([]byte(magic), Format, 0, 0, 0, 0), "its header: unexpected end of JSON input"},
	} {
		_, err := m.read(t.Context(), bytes.NewReader(c.file))
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestHeaderRefused(t *testing.T) {
	good := `{"format":1,"backup_id":"01020304050607080910111213141516","store_id":"01020000-0000-0000-0000-000000000000","created":"2026-03-01T12:00:00Z","writer":"1","content":"sqlite","algorithm":"AES-256-GCM","wraps":[{"provider":"a","kek_id":"k","kek_version":"1","blob":"AQI="}],"kcv":"01020304050607080910111213141516","log_size":7,"log_root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","size":1}`
	if _, err := parseHeader([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"format":1`, `"format":2`, "it says format 2"},
		{`"sqlite"`, `"postgres"`, `the content "postgres" is unknown`},
		{`"AES-256-GCM"`, `"none"`, `the algorithm "none" is unknown`},
		{`"01020304`, `"0x020304`, "invalid byte"},
		{`"01020304`, `"020304`, "15 bytes stand where 16 belong"},
		{`"01020000`, `"`, "invalid UUID"},
		{`"kcv":"01`, `"kcv":"0101`, "17 bytes stand where 16 belong"},
		{`AAA="`, `AAAA="`, "illegal base64"},
		{`"size":1`, `"size":0`, "a copy of 0 bytes"},
		{`"size":1`, `"size":4503599627370497`, "a copy of 4503599627370497 bytes"},
		{`"size":1`, `"size":-1`, "cannot unmarshal"},
		{`"blob":"AQI="`, `"blob":""`, `provider "a" has an empty wrap, or two`},
		{`"provider":"a"`, `"provider":""`, `provider "" has an empty wrap`},
		{`[{`, `[{"provider":"a","blob":"AQI="},{`, `provider "a" has an empty wrap, or two`},
		{`"wraps"`, `"wrops"`, "no key manager wrapped its root"},
		{`{"format"`, `["format"`, "invalid character"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if _, err := parseHeader([]byte(text)); text == good || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.want)
		}
	}
	if h, err := parseHeader([]byte(strings.Replace(good, "{", `{"later":[1],`, 1))); err != nil || h.LogSize != 7 {
		t.Errorf("a field more: %+v, %v", h, err)
	}
}

// TestWriteFails: every failure is said, and a copy that is not what it is said to be
// is one.
func TestWriteFails(t *testing.T) {
	m := managers{"a": faults.NewLocal(t), "b": faults.NewLocal(t)}
	m["b"].OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = provider.NewSecret(make([]byte, 32)) })
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		providers []string
		change    func(*Source)
		to        io.Writer
		want      string
	}{
		"short copy":    {[]string{"a"}, func(s *Source) { s.Size++ }, io.Discard, "read the copy of the store: unexpected EOF"},
		"long copy":     {[]string{"a"}, func(s *Source) { s.Size-- }, io.Discard, "has more than 99 bytes"},
		"broken copy":   {[]string{"a"}, func(s *Source) { s.Content = iotest.ErrReader(stop) }, io.Discard, "stop"},
		"broken after":  {[]string{"a"}, func(s *Source) { s.Content = io.MultiReader(s.Content, iotest.ErrReader(stop)) }, io.Discard, "stop"},
		"empty copy":    {[]string{"a"}, func(s *Source) { s.Size = 0 }, io.Discard, "a copy of 0 bytes"},
		"full":          {[]string{"a"}, func(*Source) {}, full{}, "full"},
		"no provider":   {nil, func(*Source) {}, io.Discard, "no provider to wrap it with"},
		"unknown":       {[]string{"c"}, func(*Source) {}, io.Discard, `no provider "c"`},
		"twice":         {[]string{"a", "a"}, func(*Source) {}, io.Discard, `provider "a" has an empty wrap, or two`},
		"lying manager": {[]string{"a", "b"}, func(*Source) {}, io.Discard, "opened another root than it had wrapped"},
	} {
		_, s := source(100)
		c.change(&s)
		if _, err := Write(t.Context(), c.to, s, m.wrapper(), c.providers); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestWriteEndsWithItsContext: between two chunks.
func TestWriteEndsWithItsContext(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	ctx, cancel := context.WithCancel(t.Context())
	_, s := source(3 * ChunkSize)
	left := s.Content
	s.Content = io.MultiReader(io.LimitReader(left, ChunkSize), readerFunc(func(p []byte) (int, error) {
		cancel()
		return left.Read(p)
	}))
	var b bytes.Buffer
	if _, err := Write(ctx, &b, s, m.wrapper(), []string{"a"}); !errors.Is(err, context.Canceled) || b.Len() < 2*ChunkSize || b.Len() > 3*ChunkSize {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

// TestReadFails: what the file system answers is not taken for damage, and a read
// ends with its context.
func TestReadFails(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	file, _, _ := m.written(t, 2*ChunkSize, "a")
	p := parts(t, file)
	stop := errors.New("stop")
	for _, at := range []int{0, 5, preamble, len(p[0]) - 1, len(p[0]), len(p[0]) + 100, len(file)} {
		_, err := m.read(t.Context(), io.MultiReader(bytes.NewReader(file[:at]), iotest.ErrReader(stop)))
		if !errors.Is(err, stop) || errors.Is(err, ErrDamaged) {
			t.Errorf("failing after %d bytes: %v", at, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	b, err := Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Open(ctx, m.keyManager)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, ChunkSize)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}

// TestConstantMemory: the size of the copy does not show in the memory.
func TestConstantMemory(t *testing.T) {
	m := managers{"a": faults.NewLocal(t)}
	const size = 64 * ChunkSize
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, w := io.Pipe()
	go func() {
		s := Source{Content: io.LimitReader(zeros{}, size), Size: size}
		_, err := Write(t.Context(), w, s, m.wrapper(), []string{"a"})
		w.CloseWithError(err)
	}()
	b, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	content, err := b.Open(t.Context(), m.keyManager)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, content); err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8*ChunkSize {
		t.Errorf("%d bytes were allocated for a copy of %d", n, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
