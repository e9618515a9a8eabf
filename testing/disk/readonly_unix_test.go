//go:build unix

package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// nobody is a user without privileges, which the superuser's tests run commands as:
// no mode keeps the superuser himself from writing.
const nobody = 65534

// user runs keyrotor in a folder of his own.
type user struct {
	home, keyrotor string
	credential     *syscall.Credential
}

func newUser(t *testing.T) user {
	t.Helper()
	home, err := os.MkdirTemp("", "keyrotor-readonly-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.Chmod(filepath.Join(home, "keys"), 0o700), os.RemoveAll(home)); err != nil {
			t.Error(err)
		}
	})
	u := user{home: home, keyrotor: filepath.Join(home, "bin", "keyrotor")}
	for binary, pkg := range map[string]string{"keyrotor": "cmd/keyrotor", "plugins/keyrotor-plugin-local": "plugins/local"} {
		if err := procs.Build(filepath.Join(home, "bin", binary), pkg); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		u.credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		err = filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, nobody, nobody))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// run answers standard output and standard error.
func (u user) run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), u.keyrotor, args...)
	cmd.Dir, cmd.Stdin = u.home, strings.NewReader(stdin)
	cmd.Env = []string{"KEYROTOR_CONFIG=" + filepath.Join(u.home, "keys", "keyrotor.hcl"), "TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.credential}
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	return out.String(), complaints.String(), err
}

func (u user) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := u.run(t, stdin, args...)
	if err != nil {
		t.Fatalf("keyrotor %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// refused wants an exit status of 1 and one error with this code.
func (u user) refused(t *testing.T, code, stdin string, args ...string) {
	t.Helper()
	stdout, stderr, err := u.run(t, stdin, append(args, "-o", "json")...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || stdout != "" {
		t.Errorf("keyrotor %s: %v, %q", strings.Join(args, " "), err, stdout)
	}
	var answer struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(stderr), &answer); err != nil || answer.Error.Code != code || !strings.HasSuffix(answer.Error.Message, "mounted writable") {
		t.Errorf("keyrotor %s says %s, want the one code %s", strings.Join(args, " "), stderr, code)
	}
}

// failed are the checks that keyrotor doctor lists as failed.
func (u user) failed(t *testing.T) []string {
	t.Helper()
	stdout, stderr, _ := u.run(t, "", "doctor", "-o", "json")
	var answer doctor.Report
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	var checks []string
	for _, f := range answer.Findings {
		if f.Status != doctor.OK {
			checks = append(checks, f.Check+" "+string(f.Status))
		}
	}
	return checks
}

func (u user) chmod(t *testing.T, name string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(filepath.Join(u.home, "keys", name), mode); err != nil {
		t.Fatal(err)
	}
}

// TestReadOnly: a store that cannot be written refuses what would write it, with one
// error, and is as it was once it can be written again.
func TestReadOnly(t *testing.T) {
	u := newUser(t)
	u.must(t, "", "init", "keys")
	u.must(t, "", "key", "create", "payments")
	token := u.must(t, "s3cret", "encrypt", "payments")
	reads := func() {
		t.Helper()
		if got := u.must(t, token, "decrypt"); got != "s3cret" {
			t.Errorf("the token opens to %q", got)
		}
	}
	refuses := func() {
		t.Helper()
		u.refused(t, "store_read_only", "s3cret", "encrypt", "payments")
		u.refused(t, "store_read_only", "", "key", "rotate", "payments")
		u.refused(t, "store_read_only", "", "key", "create", "other")
		if got := u.failed(t); !slices.Equal(got, []string{"store.writable fail"}) {
			t.Errorf("doctor lists %q", got)
		}
	}
	works := func(primary string) {
		t.Helper()
		u.must(t, "s3cret", "encrypt", "payments")
		if got := u.must(t, "", "key", "rotate", "payments"); !strings.Contains(got, primary) {
			t.Errorf("rotated: %s", got)
		}
		reads()
		if got := u.failed(t); got != nil {
			t.Errorf("doctor lists %q", got)
		}
	}

	// The file alone: reading goes on.
	u.chmod(t, "keyrotor.db", 0o400)
	reads()
	refuses()
	reads()
	u.chmod(t, "keyrotor.db", 0o600)
	works("version 2")

	// The folder: SQLite has no place for what processes share, so nothing does.
	u.chmod(t, "", 0o500)
	u.refused(t, "store_read_only", token, "decrypt")
	refuses()
	u.chmod(t, "", 0o700)
	works("version 3")
}
