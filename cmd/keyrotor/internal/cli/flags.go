package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// choice is a flag whose value is one of a set.
type choice struct {
	value string
	set   []string
}

func newChoice(initial string, set ...string) choice {
	return choice{value: initial, set: set}
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value; it is what the help shows as the value.
func (c *choice) Type() string { return strings.Join(c.set, "|") }

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.set, s) {
		return fmt.Errorf("it is one of %s", strings.Join(c.set, ", "))
	}
	c.value = s
	return nil
}

// limitFlag is a hard limit of uses, 0 if it is not given.
type limitFlag uint64

// String implements pflag.Value.
func (l *limitFlag) String() string {
	if *l == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*l), 10)
}

// Type implements pflag.Value.
func (l *limitFlag) Type() string { return "NUMBER" }

// Set implements pflag.Value.
func (l *limitFlag) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || n > keyring.MaxUses {
		return fmt.Errorf("it is from 1 to %d", uint64(keyring.MaxUses))
	}
	*l = limitFlag(n)
	return nil
}

// asksForJSON looks for -o json in a command line as it was typed, for those that
// fail before their flags are parsed.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "--":
			return false
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == outputJSON {
				return true
			}
		}
	}
	return false
}

func completeChoice(cmd *cobra.Command, flag string, c *choice) {
	completeFlag(cmd, flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return c.set, cobra.ShellCompDirectiveNoFileComp
	})
}

// completeFlag registers a flag's completion. It can only fail for a flag that
// does not exist, which is a mistake in this package.
func completeFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

// count says "1 file" or "2 files".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
