package e2e

import (
	"bufio"
	"bytes"
	"os"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// version is one version of one key.
type version struct {
	key    string
	number uint32
}

// tokens is the sum over some workers' files.
type tokens struct {
	returned map[version]uint64
	total    int
	lost     int
}

// openTokens opens every token in the files.
func openTokens(t *testing.T, kr *core.Keyrotor, files []string) tokens {
	t.Helper()
	sum := tokens{returned: map[version]uint64{}}
	for _, path := range files {
		sum.open(t, kr, path)
	}
	return sum
}

// open goes through one file. Its last line may be cut off by the kill; the file
// of a worker that was killed at once may not exist.
func (s *tokens) open(t *testing.T, kr *core.Keyrotor, path string) {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	var got []byte
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		text, plaintext, _ := bytes.Cut(line[:len(line)-1], []byte(" "))
		token, err := keyring.ParseToken(text)
		if err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		s.total++
		s.returned[version{string(token.Key), token.Version}]++
		got, err = kr.AppendDecrypt(t.Context(), got[:0], text, nil)
		if err == nil && bytes.Equal(got, plaintext) {
			continue
		}
		if s.lost++; s.lost > 10 {
			t.Fatal("and so on")
		}
		t.Errorf("LOST: %s was answered for %q, and opens to %q, %v", text, plaintext, got, err)
	}
}
