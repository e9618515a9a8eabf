package reencrypt

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

func TestRunReplacesTokensAndNothingElse(t *testing.T) {
	for name, in := range map[string]string{
		"first and last":   old("a") + " " + old("b"),
		"env":              "# comment\nPASSWORD=" + old("s3cret") + "\nOTHER=x\n",
		"bom and crlf":     "\ufeffkey: \"" + old("a") + "\"\r\nnext: " + old("b") + "\r\n",
		"no last newline":  "x\n" + old(""),
		"url":              "postgres://u:" + old("a") + "@host/db?p=%3D" + old("b") + "&x",
		"not UTF-8":        "\xff\xfe\x80" + old("a") + "\xc3",
		"some at primary":  renewed("x") + "," + old("y"),
		"long value":       "x" + old(strings.Repeat("long", chunkSize)) + " y",
		"across one chunk": strings.Repeat("z", chunkSize-20) + old("a") + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, map[string]string{"f": in})
			report := run(t, &Job{Keys: newFakeKeys()}, dir)
			want := replaceTokens(in)
			wantContent(t, filepath.Join(dir, "f"), want)
			wantNames(t, dir, "f")
			if report.Reencrypted == 0 || len(report.Failed) != 0 {
				t.Errorf("report %+v", report)
			}
			again := run(t, &Job{Keys: newFakeKeys()}, dir)
			if again.Reencrypted != 0 || again.Tokens != report.Tokens {
				t.Errorf("second run: %+v", again)
			}
		})
	}
}

// replaceTokens does to a text what a run is to do, by other means: fields of the
// token's text instead of a scan.
func replaceTokens(in string) string {
	const head = "keyrotor:payments:v1:"
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(in, head)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r > 127 || !keyring.IsPayloadByte(byte(r)) })
		if end < 0 {
			end = len(rest)
		}
		out, _, err := newFakeKeys().Reencrypt(context.Background(), nil, []byte(head+rest[:end]), nil)
		if err != nil {
			panic(err)
		}
		b.Write(out)
		in = rest[end:]
	}
}

func TestRunPropertyBytesOutsideOfTokensNeverChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	rapid.Check(t, func(rt *rapid.T) {
		var in, want strings.Builder
		for range rapid.IntRange(0, 12).Draw(rt, "parts") {
			// A separator keeps the text from lengthening a payload or a prefix.
			gap := "\n" + strings.ReplaceAll(string(rapid.SliceOf(rapid.Byte()).Draw(rt, "text")), "\x00", "") + "\n"
			value := string(rapid.SliceOf(rapid.Byte()).Draw(rt, "value"))
			in.WriteString(gap + old(value))
			want.WriteString(gap + renewed(value))
		}
		if err := os.WriteFile(path, []byte(in.String()), 0o600); err != nil {
			rt.Fatal(err)
		}
		report, err := (&Job{Keys: newFakeKeys()}).Run(context.Background(), []string{path})
		if err != nil || len(report.Failed)+len(report.Skipped) != 0 {
			rt.Fatalf("%+v, %v", report, err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		if string(got) != want.String() {
			rt.Fatalf("got %q, want %q", got, want.String())
		}
	})
}

func TestRunFailuresStayAndTheRestProceeds(t *testing.T) {
	keep := []string{
		1: old("cut")[:40],
		2: fakeToken("nobody", 1, "x", ""),
		3: fakeToken("payments", 7, "x", ""),
		4: fakeToken("payments", 1, "x", "tenant 5"),
		5: old("x") + old("y")[:30],
	}
	in := "a=" + old("1") + strings.Join(keep, "\nk=") + "\nz=" + old("2")
	dir := tree(t, map[string]string{"f": in, "g": old("3")})
	report := run(t, &Job{Keys: newFakeKeys()}, dir)
	wantOutline(t, dir, report, "files=2 tokens=9 reencrypted=3"+
		" failed=f:2:malformed failed=f:3:unknown_key failed=f:4:unknown_version"+
		" failed=f:5:authentication failed=f:6:malformed failed=f:6:malformed")
	wantContent(t, filepath.Join(dir, "f"), "a="+renewed("1")+strings.Join(keep, "\nk=")+"\nz="+renewed("2"))
	wantContent(t, filepath.Join(dir, "g"), renewed("3"))
	if msg := report.Failed[3].Error; !strings.Contains(msg, "--aad") {
		t.Errorf("authentication: %q does not say what to do", msg)
	}
	if msg := report.Failed[4].Error; !strings.Contains(msg, "separator") {
		t.Errorf("two tokens: %q does not say what is wrong", msg)
	}
}

// TestRunListsABoundedPart: a dump whose AAD was forgotten does not fill the memory.
func TestRunListsABoundedPart(t *testing.T) {
	const beyond = 234
	bad := strings.Repeat(fakeToken("payments", 1, "x", "tenant 5")+"\n", maxListed+beyond)
	dir := tree(t, map[string]string{"f": bad + old("a"), "g": bad + "\x00", "h": old("b") + "!keyrotor:payments:v1:"})
	report := run(t, &Job{Keys: newFakeKeys()}, dir)
	wantContent(t, filepath.Join(dir, "f"), bad+renewed("a"))
	if report.Tokens != 2*(maxListed+beyond)+3 || report.Reencrypted != 2 {
		t.Errorf("%d tokens, %d re-encrypted", report.Tokens, report.Reencrypted)
	}
	report.Failed = report.Failed[maxListed-1:]
	wantOutline(t, dir, report, "files=3 tokens=2471 reencrypted=2"+
		" failed=f:1000:authentication failed=f:0:more failed=g:0:binary failed=h:1:malformed")
	if msg := report.Failed[1].Error; !strings.HasPrefix(msg, "234 more tokens ") {
		t.Errorf("message %q", msg)
	}
}

func TestRunWithAAD(t *testing.T) {
	dir := tree(t, map[string]string{"f": fakeToken("payments", 1, "x", "tenant 5") + " " + old("y")})
	report := run(t, &Job{Keys: newFakeKeys(), AAD: []byte("tenant 5")}, dir)
	wantOutline(t, dir, report, "files=1 tokens=2 reencrypted=1 failed=f:1:authentication")
	wantContent(t, filepath.Join(dir, "f"), fakeToken("payments", 2, "x", "tenant 5")+" "+old("y"))
}

func TestRunContinuesWithoutTheKeyManager(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a") + "\n" + old("b") + "\n" + fakeToken("billing", 1, "c", "")})
	keys := newFakeKeys()
	keys.before = func(token []byte) error {
		if strings.HasPrefix(string(token), "keyrotor:payments:") {
			return provider.Errorf(provider.Unavailable, "no answer")
		}
		return nil
	}
	report := run(t, &Job{Keys: keys}, dir)
	wantOutline(t, dir, report, "files=1 tokens=3 reencrypted=1 failed=f:1:provider_unavailable failed=f:2:provider_unavailable")
	wantContent(t, filepath.Join(dir, "f"), old("a")+"\n"+old("b")+"\n"+fakeToken("billing", 3, "c", ""))
}

func TestRunDryRunOnlyReports(t *testing.T) {
	dir := tree(t, map[string]string{"f": old("a") + renewed("b")[:40], "g": old("c")})
	leftover := filepath.Join(dir, ".f.keyrotor-0123456789abcdef.tmp")
	write(t, leftover, old("never scanned"))
	before, _ := os.Stat(filepath.Join(dir, "g"))
	keys := newFakeKeys()
	report := run(t, &Job{Keys: keys, DryRun: true}, dir)
	wantOutline(t, dir, report, "files=2 tokens=3 reencrypted=1 failed=f:1:malformed failed=f:1:malformed")
	wantContent(t, filepath.Join(dir, "g"), old("c"))
	wantNames(t, dir, filepath.Base(leftover), "f", "g")
	after, _ := os.Stat(filepath.Join(dir, "g"))
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the file was touched")
	}
	if !report.DryRun || keys.calls != 1 {
		t.Errorf("dry run %v, %d calls", report.DryRun, keys.calls)
	}
}

func TestRunBinary(t *testing.T) {
	files := map[string]string{
		"late":  old("a") + "\n" + strings.Repeat("x", 3*chunkSize) + "\x00 " + old("b") + " keyrotor:x:",
		"plain": "\x00\x01",
		"utf16": "\xff\xfek\x00e\x00y\x00r\x00o\x00t\x00o\x00r\x00:\x00",
	}
	dir := tree(t, files)
	report := run(t, &Job{Keys: newFakeKeys()}, dir)
	wantOutline(t, dir, report, "files=3 tokens=3 reencrypted=0 failed=late:0:binary skipped=plain(binary file) skipped=utf16(binary file)")
	if msg := report.Failed[0].Error; !strings.Contains(msg, "3 tokens") {
		t.Errorf("message %q", msg)
	}
	for name, content := range files {
		wantContent(t, filepath.Join(dir, name), content)
	}
	wantNames(t, dir, "late", "plain", "utf16")
}

func TestRunVeryLongLine(t *testing.T) {
	line := strings.Repeat("0123456789", 4<<20)
	dir := tree(t, map[string]string{"f": line + old("a")})
	wantOutline(t, dir, run(t, &Job{Keys: newFakeKeys()}, dir), "files=1 tokens=1 reencrypted=1")
	wantContent(t, filepath.Join(dir, "f"), line+renewed("a"))
}

func TestRunChangedMeanwhile(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"longer": func(path string) error { return os.WriteFile(path, []byte(old("a")+"edited"), 0o644) },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"~", []byte(old("b")), 0o644), os.Rename(path+"~", path))
		},
		"mode":    func(path string) error { return os.Chmod(path, 0o444) },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, map[string]string{"f": old("a")})
			path := filepath.Join(dir, "f")
			keys := newFakeKeys()
			keys.before = func([]byte) error { return change(path) }
			report := run(t, &Job{Keys: keys}, path)
			wantOutline(t, dir, report, "files=1 tokens=1 reencrypted=0 failed=f:0:changed")
			switch name {
			case "longer":
				wantContent(t, path, old("a")+"edited")
			case "replaced":
				wantContent(t, path, old("b"))
			case "mode":
				wantContent(t, path, old("a"))
			case "removed":
				wantNames(t, dir)
				return
			}
			wantNames(t, dir, "f")
		})
	}
}

func TestRunCancelled(t *testing.T) {
	dir := tree(t, map[string]string{"a": old("1"), "b": old("2") + " " + old("3"), "c": old("4")})
	ctx, cancel := context.WithCancel(t.Context())
	keys := newFakeKeys()
	keys.before = func([]byte) error {
		if keys.calls == 3 { // the second token of b
			cancel()
		}
		return nil
	}
	report, err := (&Job{Keys: keys}).Run(ctx, []string{dir})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	wantOutline(t, dir, report, "files=2 tokens=1 reencrypted=1")
	wantContent(t, filepath.Join(dir, "a"), renewed("1"))
	wantContent(t, filepath.Join(dir, "b"), old("2")+" "+old("3"))
	wantContent(t, filepath.Join(dir, "c"), old("4"))
	wantNames(t, dir, "a", "b", "c")
}

// TestReplaceCancelled: the copy of what comes before the first token is long in a
// large file; it ends with the context and leaves nothing.
func TestReplaceCancelled(t *testing.T) {
	dir := tree(t, map[string]string{"f": strings.Repeat("x", 1000)})
	src, _, err := openSource(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.replace(ctx, 1000, bufio.NewWriter(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantNames(t, dir, "f")
}

func TestRunConcurrently(t *testing.T) {
	files := map[string]string{}
	for name := range strings.SplitSeq("abcdefghij", "") {
		files[name] = strings.Repeat(name+"="+old(name)+"\n", 200)
	}
	dir := tree(t, files)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			report, err := (&Job{Keys: newFakeKeys()}).Run(context.Background(), []string{dir})
			if err != nil {
				t.Error(err)
			}
			for _, f := range report.Failed {
				if f.Code != Changed {
					t.Errorf("failed %+v", f)
				}
			}
		})
	}
	wg.Wait()
	for name := range files {
		wantContent(t, filepath.Join(dir, name), strings.Repeat(name+"="+renewed(name)+"\n", 200))
	}
	wantNames(t, dir, strings.Split("abcdefghij", "")...)
}

func TestRunProgress(t *testing.T) {
	dir := tree(t, map[string]string{"a": old("1"), "b/c": strings.Repeat("x", 2*chunkSize), "empty": ""})
	var all []Progress
	run(t, &Job{Keys: newFakeKeys(), Progress: func(p Progress) { all = append(all, p) }}, dir)
	total := int64(len(old("1")) + 2*chunkSize)
	first, last := all[0], all[len(all)-1]
	if want := (Progress{TotalFiles: 3, TotalBytes: total}); first != want {
		t.Errorf("first %+v, want %+v", first, want)
	}
	if want := (Progress{File: filepath.Join(dir, "empty"), Files: 3, TotalFiles: 3, Bytes: total, TotalBytes: total}); last != want {
		t.Errorf("last %+v, want %+v", last, want)
	}
	for i := 1; i < len(all); i++ {
		if all[i].Bytes < all[i-1].Bytes || all[i].Files < all[i-1].Files || all[i].Bytes-all[i-1].Bytes > chunkSize {
			t.Errorf("from %+v to %+v", all[i-1], all[i])
		}
	}
}

func TestReportJSON(t *testing.T) {
	dir := tree(t, map[string]string{"f": "keyrotor:x:", "n": "\x00"})
	report := run(t, &Job{Keys: newFakeKeys(), DryRun: true}, dir)
	report.Failed[0].File, report.Skipped[0].File, report.Failed[0].Error = "f", "n", "why"
	wantJSON(t, report, `{"files":2,"tokens":1,"reencrypted":0,`+
		`"failed":[{"file":"f","line":1,"code":"malformed","error":"why"}],`+
		`"skipped":[{"file":"n","reason":"binary file"}],"dry_run":true}`)
	wantJSON(t, run(t, &Job{Keys: newFakeKeys()}), `{"files":0,"tokens":0,"reencrypted":0,"failed":[],"skipped":[]}`)
}

func wantJSON(t *testing.T, v any, want string) {
	t.Helper()
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("JSON\n got %s\nwant %s", got, want)
	}
}
