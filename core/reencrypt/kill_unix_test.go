//go:build unix

package reencrypt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// killTree is what the files hold before and after; the file i is called fNN.
type killTree struct{ before, after []string }

func newKillTree() killTree {
	var k killTree
	for i := range 24 {
		var before, after strings.Builder
		for line := range 60 + 40*i {
			value := fmt.Sprint(i, line)
			fmt.Fprintf(&before, "%d.%d=%s # and more\n", i, line, old(value))
			fmt.Fprintf(&after, "%d.%d=%s # and more\n", i, line, renewed(value))
		}
		k.before = append(k.before, before.String())
		k.after = append(k.after, after.String())
	}
	return k
}

func killPath(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("f%02d", i)) }

func (k killTree) write(t *testing.T, dir string) {
	t.Helper()
	for i, content := range k.before {
		write(t, killPath(dir, i), content)
	}
}

// check asserts that every file is whole, and counts temporary and renewed ones.
func (k killTree) check(t *testing.T, dir string) (leftovers, fresh int) {
	t.Helper()
	for i := range k.before {
		switch read(t, killPath(dir, i)) {
		case k.before[i]:
		case k.after[i]:
			fresh++
		default:
			t.Fatalf("file %d is neither old nor new", i)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if isTemporary(e.Name()) {
			leftovers++
		}
	}
	if len(entries) != len(k.before)+leftovers {
		t.Fatalf("%d entries, of which %d temporary", len(entries), leftovers)
	}
	return leftovers, fresh
}

// rewriteChild counts tokens and chunks. When it has seen so many it says so with
// a byte on stdout; then it waits to be killed, or goes on while the kill is on
// its way. Arguments: folder, count, "wait" or "go on".
func rewriteChild(dir string) error {
	left, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	beat := func() {
		if left--; left != 0 {
			return
		}
		_, _ = os.Stdout.WriteString(".")
		if os.Args[3] == "wait" {
			_, _ = os.Stdin.Read(make([]byte, 1))
		}
	}
	keys := newFakeKeys()
	keys.before = func([]byte) error { beat(); return nil }
	job := &Job{Keys: keys, Progress: func(Progress) { beat() }}
	report, err := job.Run(context.Background(), []string{dir})
	if err == nil && len(report.Failed)+len(report.Skipped) > 0 {
		err = errors.New(outline(dir, report))
	}
	return err
}

func TestRunKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	files := newKillTree()
	files.write(t, dir)
	rnd := rand.New(rand.NewPCG(2, 40))
	var leftovers, renewals, killed int
	for round := range 40 {
		// A full run has some 12,500 beats; most kills hit in the middle.
		if killAfter(t, dir, 1+rnd.IntN(4000), round%2 == 0) {
			killed++
		}
		l, r := files.check(t, dir)
		leftovers, renewals = leftovers+l, renewals+r
		if r == len(files.before) {
			files.write(t, dir)
		}
	}
	t.Logf("%d killed while running, %d temporary files seen, %d renewed files seen", killed, leftovers, renewals)
	if killed < 10 || leftovers == 0 || renewals == 0 {
		t.Error("the kills did not hit where it matters")
	}
	report := run(t, &Job{Keys: newFakeKeys()}, dir)
	if len(report.Failed)+len(report.Skipped) > 0 || report.Files != len(files.before) {
		t.Errorf("clean run: %s", outline(dir, report))
	}
	if leftovers, fresh := files.check(t, dir); leftovers != 0 || fresh != len(files.before) {
		t.Errorf("after a clean run %d temporary files and %d of %d files renewed", leftovers, fresh, len(files.before))
	}
}

// killAfter kills a child once it has seen so many beats. It answers false if the
// child was done before.
func killAfter(t *testing.T, dir string, beats int, wait bool) bool {
	t.Helper()
	then := "go on"
	if wait {
		then = "wait"
	}
	cmd := childCommand(t, "rewrite", dir, strconv.Itoa(beats), then)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe() // never written: what the child waits for
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if n, _ := out.Read(make([]byte, 1)); n == 1 {
		_ = cmd.Process.Kill()
	}
	err = cmd.Wait()
	_ = in.Close()
	if err != nil && cmd.ProcessState.Exited() {
		t.Fatalf("child: %v: %s", err, stderr.String())
	}
	return err != nil
}
