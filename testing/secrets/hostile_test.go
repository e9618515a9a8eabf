//go:build exhaustive

package secrets_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// TestTalkativePlugin: what a plugin says of its token, and of the roots that it is
// given, is blanked wherever the host repeats it.
func TestTalkativePlugin(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.text("key", "create", "payments", "--wrap-with", "sealed,cloud")
	s.text("key", "create", "orders", "--wrap-with", "cloud")
	token, _ := s.run(command{args: []string{"encrypt", "orders"}, stdin: string(s.planted[plaintext])})

	// With the word that stands in the token's place.
	for _, c := range []struct {
		fault, says string
		command
	}{
		{"Check noise", "token [redacted] in use", command{args: []string{"provider", "check", "cloud"}}},
		{"Check denied", "token [redacted] is not allowed", command{args: []string{"provider", "check", "cloud", "-o", "json"}, status: 1}},
		{"Check denied", "token [redacted] is not allowed", command{args: []string{"doctor"}, status: 1}},
		{"Check echo", "token [redacted]", command{args: []string{"provider", "check", "cloud"}}},
		{"Check echo", "token [redacted]", command{args: []string{"doctor", "-o", "json"}, status: 1}},
		{"Configure config", "no instance for token [redacted]", command{args: []string{"key", "rotate", "orders"}, status: 1}},
		{"DescribeKey denied", "token [redacted] is not allowed", command{args: []string{"kek", "rotate", "cloud"}, status: 1}},
		{"GenerateDataKey denied", "token [redacted] is not allowed", command{args: []string{"key", "rotate", "orders"}, status: 1}},
		{"GenerateDataKey panic", "the provider panicked", command{args: []string{"key", "rotate", "orders"}, status: 1}},
		{"Wrap stray-panic", "boom [redacted]", command{args: []string{"key", "rotate", "payments", "-o", "json"}, status: 1}},
		{"Wrap crash", "PLUGIN_CRASHED", command{args: []string{"key", "rotate", "payments"}, status: 1}},
		{"Rewrap denied", "token [redacted] is not allowed", command{args: []string{"kek", "rotate", "cloud"}, status: 1}},
		{"Unwrap item-error", "token [redacted] cannot open it", command{args: []string{"decrypt"}, stdin: token, status: 1}},
		{"Unwrap item-error", "token [redacted] cannot open it", command{args: []string{"decrypt", "-o", "json"}, stdin: token, status: 1}},
		{"GenerateDataKey denied", "token [redacted] is not allowed", command{args: []string{"backup", "create", "x.backup", "--wrap-with", "cloud"}, status: 1}},
		{"Wrap echo", "it takes no [redacted]", command{
			args:  []string{"key", "import", "legacy", "--wrap-with", "cloud"},
			stdin: hex.EncodeToString(s.planted[hexRoot]), status: 1,
		}},
		{"Wrap echo", "it takes no [redacted]", command{
			args:  []string{"key", "import", "legacy", "--wrap-with", "sealed,cloud", "-o", "json"},
			stdin: string(s.planted[rawRoot]), status: 1,
		}},
	} {
		s.write("journal/cloud.fault", []byte(c.fault))
		stdout, stderr := s.run(c.command)
		if !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%s: %q does not stand in what `keyrotor %s` says:\n%s%s", c.fault, c.says, strings.Join(c.args, " "), stdout, stderr)
		}
	}
	must(t, os.Remove(s.path("journal/cloud.fault")))
	s.both("history", "list")
	s.run(command{args: []string{"decrypt"}, stdin: token, shows: plaintext})
}
