package secretfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/providers/secretfile"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"s3cret": "s3cret", "s3cret\n": "s3cret", "s3cret\r\n": "s3cret", "s3cret\n\n": "s3cret\n", "s3cret\r": "s3cret\r",
		"two words": "two words", "12345678": "12345678", "1234567890": "",
	} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := secretfile.Read(path, "token", 8+len("\n"))
		if len(content) > 9 {
			if err == nil || err.Error() != path+" is longer than 9 bytes" {
				t.Errorf("%q: %v", content, err)
			}
			continue
		}
		if err != nil || string(got.Reveal()) != want {
			t.Errorf("%q reads as %q, %v", content, got.Reveal(), err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "cannot read the token: ",
		dir:                        dir + " is not a regular file",
		empty:                      empty + " is empty: write the token into it",
	} {
		if _, err := secretfile.Read(path, "token", 100); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s…", path, err, want)
		}
	}
}

func TestReadFollowsALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "..data"), filepath.Join(dir, "token")
	if err := os.WriteFile(target, []byte("s3cret"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if got, err := secretfile.Read(link, "token", 100); err != nil || string(got.Reveal()) != "s3cret" {
		t.Errorf("%q, %v", got.Reveal(), err)
	}
}

func ExampleRead() {
	path := filepath.Join(os.TempDir(), "example-token")
	defer os.Remove(path)
	if err := os.WriteFile(path, []byte("hvs.example\n"), 0o600); err != nil {
		panic(err)
	}
	token, err := secretfile.Read(path, "token", 4096)
	if err != nil {
		panic(err)
	}
	defer token.Wipe()
	fmt.Println(token, token.Len())
	// Output: [redacted] 11
}
