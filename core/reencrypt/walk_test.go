package reencrypt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// walked answers what a walk comes upon, relative to dir.
func walked(dir string, paths ...string) string {
	var out []string
	for e := range walk(paths) {
		what := relative(dir, e.path)
		switch e.kind {
		case fileEntry:
		case temporaryEntry:
			what += "(temporary)"
		case skippedEntry:
			what += "(" + e.reason + ")"
		case failedEntry:
			what += "(failed)"
		}
		out = append(out, what)
	}
	return strings.Join(out, " ")
}

func TestWalk(t *testing.T) {
	dir := tree(t, map[string]string{
		"b": "", "a/2": "", "a/1": "", "a/x/3": "", ".env": "",
		".git/config": "", "sub/.git/HEAD": "", "worktree/.git": "",
		"t/.f.keyrotor-0123456789abcdef.tmp": "", "t/f": "", "t/f.keyrotor-0123456789abcdef.tmp": "",
	})
	at := func(names ...string) []string {
		for i, name := range names {
			names[i] = dir + "/" + name
		}
		return names
	}
	for _, c := range []struct {
		name  string
		paths []string
		want  string
	}{
		{"folder, sorted", at("a"), "a/1 a/2 a/x/3"},
		{"order of the paths", at("b", "a/2", "a/1"), "b a/2 a/1"},
		{"twice", at("b", "b", "./b", "a/../b"), "b"},
		{"folder and its file", at("a/2", "a", "a/x"), "a/1 a/2 a/x/3"},
		{"folder twice", at("a/", "a"), "a/1 a/2 a/x/3"},
		{"name with the same start", at("a", "a/x", "b"), "a/1 a/2 a/x/3 b"},
		{"git", at("sub", ".git", "worktree"), "sub/.git(git's own folder) .git/config worktree/.git"},
		{"within a git folder that the walk passes over", at("sub", "sub/.git/HEAD"), "sub/.git(git's own folder) sub/.git/HEAD"},
		{"missing", at("nothing", "b"), "nothing(failed) b"},
		{"temporary", at("t"), "t/.f.keyrotor-0123456789abcdef.tmp(temporary) t/f t/f.keyrotor-0123456789abcdef.tmp"},
		{"temporary beside", at("t/f"), "t/.f.keyrotor-0123456789abcdef.tmp(temporary) t/f"},
		{"everything", at(""), ".env .git(git's own folder) a/1 a/2 a/x/3 b sub/.git(git's own folder) " +
			"t/.f.keyrotor-0123456789abcdef.tmp(temporary) t/f t/f.keyrotor-0123456789abcdef.tmp worktree/.git"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := walked(dir, c.paths...); got != c.want {
				t.Errorf("walked\n%s, want\n%s", got, c.want)
			}
		})
	}
}

func TestWalkOfRelativePaths(t *testing.T) {
	dir := tree(t, map[string]string{"a/1": "", "b": ""})
	t.Chdir(filepath.Join(dir, "a"))
	if got, want := walked(dir, "../b", "1", dir), "a/1 b"; got != want {
		t.Errorf("walked %q, want %q", got, want)
	}
	if got, want := walked(".", "../b", "1", ".", ".."), "../a/1 ../b"; got != want {
		t.Errorf("walked %q, want %q", got, want)
	}
	if got, want := walked(".", ""), ".(failed)"; got != want {
		t.Errorf("no path at all: walked %q, want %q", got, want)
	}
}

func TestWalkStopsWhenAsked(t *testing.T) {
	dir := tree(t, map[string]string{"a/1": "", "a/2": "", "b": ""})
	var seen []string
	for e := range walk([]string{dir, filepath.Join(dir, "b")}) {
		seen = append(seen, relative(dir, e.path))
		if len(seen) == 2 {
			break
		}
	}
	if got := strings.Join(seen, " "); got != "a/1 a/2" {
		t.Errorf("saw %s", got)
	}
}

func TestRunMissingPath(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a")})
	report := run(t, &Job{Keys: newFakeKeys()}, filepath.Join(dir, "gone"), filepath.Join(dir, "f"))
	wantOutline(t, dir, report, "files=1 tokens=1 reencrypted=1 failed=gone:0:io")
	if msg := report.Failed[0].Error; !strings.Contains(msg, os.ErrNotExist.Error()) && !strings.Contains(msg, "no such file") {
		t.Errorf("message %q", msg)
	}
}
