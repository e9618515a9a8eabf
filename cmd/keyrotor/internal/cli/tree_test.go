package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
)

var update = flag.Bool("update", false, "write the list of commands and flags anew")

func newApp() *app {
	return &app{
		Console: &console.Console{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard},
		version: "test",
		getenv:  func(string) string { return "" },
		end:     func() {},
	}
}

// tree lists every command, the root first.
func tree(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, sub := range root.Commands() {
		all = append(all, tree(sub)...)
	}
	return all
}

// TestSurface compares the commands and flags with a list, so that a change of what
// users rely on shows in review.
func TestSurface(t *testing.T) {
	root := newApp().rootCommand()
	root.InitDefaultHelpCmd()
	var b strings.Builder
	for _, cmd := range tree(root) {
		fmt.Fprintln(&b, cmd.UseLine())
		flags := cmd.LocalFlags()
		flags.VisitAll(func(f *pflag.Flag) {
			fmt.Fprintf(&b, "    --%s %s (%s)\n", f.Name, f.Value.Type(), f.DefValue)
		})
	}
	path := filepath.Join("testdata", "surface.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the commands are\n%s\nand the list says\n%s\nIf that is meant, run this test with -update.", b.String(), want)
	}
}

func TestEveryCommandIsDocumented(t *testing.T) {
	root := newApp().rootCommand()
	root.InitDefaultHelpCmd()
	for _, cmd := range tree(root) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short is %q", cmd.CommandPath(), cmd.Short)
		}
		for line := range strings.SplitSeq(cmd.Long+"\n"+cmd.Short, "\n") {
			if len([]rune(line)) > 90 {
				t.Errorf("%s: a line of %d characters: %s", cmd.CommandPath(), len([]rune(line)), line)
			}
		}
		if isTopic(cmd) {
			continue
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
	}
}

// TestEveryExampleParses runs the command lines of the examples up to their RunE.
func TestEveryExampleParses(t *testing.T) {
	pattern := newApp().rootCommand()
	pattern.InitDefaultHelpCmd()
	seen := 0
	for _, documented := range tree(pattern) {
		for line := range strings.SplitSeq(documented.Example, "\n") {
			args, ok := commandLine(line)
			if !ok {
				continue
			}
			seen++
			root := newApp().rootCommand()
			root.InitDefaultHelpCmd()
			cmd, rest, err := root.Find(args)
			if err != nil {
				t.Errorf("%s: %s: %v", documented.CommandPath(), line, err)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: %s: %v", documented.CommandPath(), line, err)
				continue
			}
			if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Errorf("%s: %s: %v", documented.CommandPath(), line, err)
			}
			if isGroup(cmd) {
				t.Errorf("%s: %s: names no command", documented.CommandPath(), line)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d examples were found", seen)
	}
}

// commandLine takes keyrotor's arguments out of a line of shell.
func commandLine(line string) ([]string, bool) {
	_, line, ok := strings.Cut(line, "keyrotor ")
	if !ok {
		return nil, false
	}
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
			continue
		}
		for word := range strings.FieldsSeq(part) {
			if strings.HasPrefix(word, "|") || strings.HasPrefix(word, "<") || strings.HasPrefix(word, ">") {
				return args, true
			}
			args = append(args, strings.TrimSuffix(word, ")"))
		}
	}
	return args, true
}

// TestCompletions: a command completes names, or nothing, or files because it
// takes files.
func TestCompletions(t *testing.T) {
	files := []string{
		"keyrotor init", "keyrotor reencrypt", "keyrotor census", "keyrotor config validate",
		"keyrotor backup create", "keyrotor backup restore", "keyrotor backup show", "keyrotor backup verify", "keyrotor recover",
	}
	for _, cmd := range tree(newApp().rootCommand()) {
		if isTopic(cmd) || isGroup(cmd) {
			continue
		}
		if cmd.ValidArgsFunction == nil != slices.Contains(files, cmd.CommandPath()) {
			t.Errorf("%s: ValidArgsFunction is set: %v", cmd.CommandPath(), cmd.ValidArgsFunction != nil)
		}
	}
}
