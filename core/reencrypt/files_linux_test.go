package reencrypt

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// acl is the kernel's form of a list that lets the user 12345 read.
func acl() []byte {
	const anyone = ^uint32(0)
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, anyone}, {2, 4, 12345}, {4, 0, anyone}, {16, 4, anyone}, {32, 0, anyone}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// supports sets an attribute, unless the file system knows none.
func supports(t *testing.T, path, name string, value []byte) bool {
	t.Helper()
	err := unix.Setxattr(path, name, value, 0)
	if errors.Is(err, unix.ENOTSUP) {
		t.Logf("the file system of the test has no %s", name)
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

func attribute(t *testing.T, path, name string) string {
	t.Helper()
	buf := make([]byte, 1000)
	n, err := unix.Getxattr(path, name, buf)
	if errors.Is(err, unix.ENODATA) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestRunKeepsExtendedAttributes(t *testing.T) {
	for name, value := range map[string]string{"user.origin": "vault", "user.empty": "", accessACL: string(acl())} {
		dir := tree(t, map[string]string{"f": old("a")})
		path := filepath.Join(dir, "f")
		if !supports(t, path, name, []byte(value)) {
			continue
		}
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, dir), "files=1 tokens=1 reencrypted=1")
		if got := attribute(t, path, name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
		if after, err := os.Stat(path); err != nil || after.Mode() != before.Mode() {
			t.Errorf("%s: mode %v became %v, %v", name, before.Mode(), after.Mode(), err)
		}
	}
}

// A new file inherits its folder's list, which the file that it replaces may
// have been freed of.
func TestRunGrantsNobodyMore(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a")})
	path := filepath.Join(dir, "f")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if !supports(t, dir, defaultACL, acl()) {
		return
	}
	wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, dir), "files=1 tokens=1 reencrypted=1")
	if got := attribute(t, path, accessACL); got != "none" {
		t.Errorf("the file has an access control list: %x", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
