//go:build unix

package reencrypt

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv tells the test binary, started anew, what to be.
const childEnv = "KEYROTOR_TEST_CHILD"

func TestMain(m *testing.M) {
	children := map[string]func(dir string) error{
		"rewrite": rewriteChild, "short of space": spaceChild, "somebody else": otherChild,
	}
	if child, ok := children[os.Getenv(childEnv)]; ok {
		if err := child(os.Args[1]); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func childCommand(t *testing.T, child string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+child)
	return cmd
}

func TestRunKeepsModeAndNeighbours(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a"), "same": renewed("x"), "other": "text"})
	path := filepath.Join(dir, "f")
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, name := range []string{"f", "same", "other"} {
		if err := os.Chtimes(filepath.Join(dir, name), past, past); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	started := time.Now().Add(-time.Minute)
	wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, dir), "files=3 tokens=2 reencrypted=1")
	wantContent(t, path, renewed("a"))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o400 || info.ModTime().Before(started) {
		t.Errorf("mode %v, changed %v", info.Mode(), info.ModTime())
	}
	for _, name := range []string{"same", "other"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.ModTime().Equal(past) {
			t.Errorf("%s changed at %v, %v", name, info.ModTime(), err)
		}
	}
}

func TestRunKeepsUnusualModes(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o777, 0o644 | fs.ModeSetgid, 0o755 | fs.ModeSetuid} {
		dir := tree(t, map[string]string{"f": old("a")})
		path := filepath.Join(dir, "f")
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		run(t, &Job{Keys: newFakeKeys()}, path)
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode %v became %v, %v", mode, info.Mode(), err)
		}
		wantContent(t, path, renewed("a"))
	}
}

func TestRunWhatIsNoRegularFile(t *testing.T) {
	dir := tree(t, map[string]string{"target": old("a"), "folder/f": "text"})
	at := func(name string) string { return filepath.Join(dir, name) }
	listener, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	if err := errors.Join(os.Symlink("target", at("link")), os.Symlink("folder", at("linked")), syscall.Mkfifo(at("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	const rest = " skipped=link(symbolic link) skipped=linked(symbolic link) skipped=pipe(named pipe) skipped=socket(socket)"
	wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, dir), "files=2 tokens=1 reencrypted=1"+rest)
	// Named one by one it is the same; the slash would follow the link.
	report := run(t, &Job{Keys: newFakeKeys()}, at("link"), at("linked")+"/", at("pipe"), at("socket"), "/dev/null")
	wantOutline(t, dir, report, "files=0 tokens=0 reencrypted=0"+rest+" skipped="+relative(dir, "/dev/null")+"(device)")
	if target, err := os.Readlink(at("link")); err != nil || target != "target" {
		t.Errorf("the link is %q, %v", target, err)
	}
	wantContent(t, at("target"), renewed("a"))
	// Through a linked folder, a file is still one file.
	report = run(t, &Job{Keys: newFakeKeys()}, at("linked")+"/f", at("folder")+"/f")
	wantOutline(t, dir, report, "files=1 tokens=0 reencrypted=0")
}

// A file may become something else between the walk and the opening.
func TestOpenSourceDistrustsTheWalk(t *testing.T) {
	dir := tree(t, map[string]string{"f": ""})
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink("f", link)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{pipe: ReasonPipe, link: ReasonSymlink, os.DevNull: ReasonDevice, dir: ReasonIrregular} {
		if src, reason, err := openSource(path); src != nil || reason != want || err != nil {
			t.Errorf("openSource(%s) = %v, %q, %v; want %q", path, src, reason, err, want)
		}
	}
}

func TestRunSplitsHardLinks(t *testing.T) {
	dir := tree(t, map[string]string{"a": old("x")})
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.Link(a, b); err != nil {
		t.Fatal(err)
	}
	run(t, &Job{Keys: newFakeKeys()}, a)
	wantContent(t, b, old("x"))
	wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, dir), "files=2 tokens=2 reencrypted=1")
	wantContent(t, a, renewed("x"))
	wantContent(t, b, renewed("x"))
}

// TestRunOddName: whatever a file is called, its leftovers are known as such.
func TestRunOddName(t *testing.T) {
	for _, name := range []string{"line\nbreak", "-", "a b"} {
		dir := tree(t, map[string]string{name: old("a")})
		path := filepath.Join(dir, name)
		f, err := createTemporary(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		report := run(t, &Job{Keys: newFakeKeys()}, path)
		if report.Files != 1 || report.Reencrypted != 1 {
			t.Errorf("%q: report %+v", name, report)
		}
		wantNames(t, dir, name)
	}
}

func TestRunLongName(t *testing.T) {
	name := strings.Repeat("n", 255)
	dir := tree(t, map[string]string{name: old("x")})
	wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, dir), "files=1 tokens=1 reencrypted=1")
	wantContent(t, filepath.Join(dir, name), renewed("x"))
}

func TestRunRemovesLeftoversOfTheDeadOnly(t *testing.T) {
	const dead, alive = ".f.keyrotor-0000000000000000.tmp", ".f.keyrotor-1111111111111111.tmp"
	dir := tree(t, map[string]string{"f": old("a"), dead: old("x"), alive: old("x")})
	writer, err := os.Open(filepath.Join(dir, alive))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(writer.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// Named by itself, the file's folder is swept as well.
	wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, filepath.Join(dir, "f")), "files=1 tokens=1 reencrypted=1")
	wantNames(t, dir, alive, "f")
	run(t, &Job{Keys: newFakeKeys()}, dir)
	wantNames(t, dir, alive, "f")
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, &Job{Keys: newFakeKeys()}, dir)
	wantNames(t, dir, "f")
}

func TestTemporaryIsLockedAndPrivateWhileWritten(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a") + "\n" + old("b")})
	keys := newFakeKeys()
	keys.before = func(token []byte) error {
		if keys.calls < 2 {
			return nil
		}
		names, err := filepath.Glob(filepath.Join(dir, ".f.keyrotor-*.tmp"))
		if err != nil || len(names) != 1 || !isTemporary(filepath.Base(names[0])) {
			t.Fatalf("temporary files %q, %v", names, err)
		}
		if info, err := os.Stat(names[0]); err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if err := removeLeftover(names[0]); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(names[0]); err != nil {
			t.Errorf("another run removed it: %v", err)
		}
		return nil
	}
	wantOutline(t, dir, run(t, &Job{Keys: keys}, dir), "files=1 tokens=2 reencrypted=2")
	wantNames(t, dir, "f")
}

func TestLockNewGivesWayToASweeper(t *testing.T) {
	dir := t.TempDir()
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	if !lockNew(create("free")) {
		t.Error("a free file was not locked")
	}
	gone := create("gone")
	if err := os.Remove(gone.Name()); err != nil {
		t.Fatal(err)
	}
	if lockNew(gone) {
		t.Error("a removed file was locked")
	}
	held := create("held")
	sweeper, err := os.Open(held.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer sweeper.Close()
	if err := flock(sweeper); err != nil {
		t.Fatal(err)
	}
	if lockNew(held) {
		t.Error("a file that another run holds was locked")
	}
}

func TestRunKeepsTheAccessTime(t *testing.T) {
	if noAccessTime == 0 {
		t.Log("this system has no way to read without one")
		return
	}
	dir := tree(t, map[string]string{"f": "text"})
	path := filepath.Join(dir, "f")
	past := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	run(t, &Job{Keys: newFakeKeys()}, dir)
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if got := time.Unix(stat.Atim.Unix()); !got.Equal(past) {
		t.Errorf("read at %v, want %v", got, past)
	}
}

// spaceChild may write files of 64 KiB at most, which fails like a full disk.
func spaceChild(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10}); err != nil {
		return err
	}
	report, err := (&Job{Keys: newFakeKeys()}).Run(context.Background(), []string{dir})
	if err != nil {
		return err
	}
	if len(report.Failed) != 1 || report.Failed[0].Code != IO || report.Failed[0].Line != 0 ||
		!strings.Contains(report.Failed[0].Error, syscall.EFBIG.Error()) || report.Reencrypted != 1 {
		return errors.New(outline(dir, report))
	}
	return nil
}

func TestRunWithoutSpace(t *testing.T) {
	big := old("a") + " " + strings.Repeat("x", 3*chunkSize) + "\n" + old("b")
	dir := tree(t, map[string]string{"big": big, "small": old("c")})
	if out, err := childCommand(t, "short of space", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantContent(t, filepath.Join(dir, "big"), big)
	wantContent(t, filepath.Join(dir, "small"), renewed("c"))
	wantNames(t, dir, "big", "small")
}

// otherChild becomes a user who may write to the folder and owns nothing.
func otherChild(dir string) error {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
		return err
	}
	report, err := (&Job{Keys: newFakeKeys()}).Run(context.Background(), []string{dir})
	if err != nil {
		return err
	}
	if got := outline(dir, report); got != "files=1 tokens=1 reencrypted=0 failed=private:0:permission failed=public:0:permission" {
		return errors.New(got)
	}
	if !strings.Contains(report.Failed[1].Error, "owner") {
		return errors.New(report.Failed[1].Error)
	}
	return nil
}

func TestRunOfAnotherUsersFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give files to others")
		return
	}
	dir := tree(t, map[string]string{"public": old("a"), "private": old("b")})
	for name, mode := range map[string]fs.FileMode{".": 0o777, "..": 0o755, "private": 0o600} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := childCommand(t, "somebody else", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantContent(t, filepath.Join(dir, "public"), old("a"))
	wantNames(t, dir, "private", "public")

	// Root keeps whoever owns a file.
	path := filepath.Join(dir, "public")
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	run(t, &Job{Keys: newFakeKeys()}, dir)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 23456 {
		t.Errorf("owner %d:%d", s.Uid, s.Gid)
	}
	wantContent(t, path, renewed("a"))
}
