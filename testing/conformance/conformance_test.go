package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
	"github.com/keyrotor/keyrotor/plugins/sdk"
)

// TestMain lets this binary be the toy's plugin.
func TestMain(m *testing.M) {
	cookie := wire.Handshake()
	if os.Getenv(cookie.MagicCookieKey) == cookie.MagicCookieValue {
		sdk.Serve(sdk.Plugin{Info: toyInfo(), Schema: toySchema(), New: newFaulty(&toyKMS{})})
		return
	}
	os.Exit(m.Run())
}

const toyToken = "the token of the toy"

// toyBody is a block for the key in a file, which may not exist.
func toyBody(path, fault, token string) provider.Body {
	return provider.Body{
		Attributes: map[string]any{"path": path, "fault": fault},
		Blocks: []provider.Block{{Type: "auth", Body: provider.Body{
			Attributes: map[string]any{"token": provider.NewSecret([]byte(token))},
		}}},
	}
}

// newToyKEK is a Harness.KEK for a plugin that does something wrong.
func newToyKEK(fault string) func(testing.TB) provider.Body {
	return func(t testing.TB) provider.Body {
		return toyBody(filepath.Join(t.TempDir(), "key"), fault, toyToken)
	}
}

func toyHarness(t testing.TB) Harness {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Harness{Info: toyInfo(), Schema: toySchema(), New: (&toyKMS{}).New, KEK: newToyKEK(""), Binary: self}
}

// TestRun: the suite has nothing to say against a provider that is right.
func TestRun(t *testing.T) {
	h := toyHarness(t)
	h.Fails = map[provider.Code]func(testing.TB) provider.Body{
		provider.Unauthenticated: func(t testing.TB) provider.Body {
			body := newToyKEK("")(t)
			path := body.String("path")
			if err := os.WriteFile(path, []byte(`{"Token": "YW5vdGhlcg=="}`), 0o600); err != nil {
				t.Fatal(err)
			}
			return body
		},
		provider.InvalidConfig: func(testing.TB) provider.Body { return toyBody("", "", toyToken) },
	}
	Run(t, h)
}

// reportEnv makes TestReport run the suite against a mutant, and fail.
const reportEnv = "KEYROTOR_CONFORMANCE_REPORT"

// TestReport: what a test's output says of a broken promise begins with its name.
func TestReport(t *testing.T) {
	if os.Getenv(reportEnv) != "" {
		h := mutant{bend: bound(func([]byte) []byte { return nil })}.harness()
		h.Cannot = map[string]string{"rewrap/binds-aad": "it never could"}
		route{cases: cases(h), connect: func(testing.TB) way { return direct{h.New} }}.run(t, h)
		return
	}
	self := toyHarness(t).Binary
	cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestReport$/^(wrap|rewrap)$", "-test.v")
	cmd.Env = append(os.Environ(), reportEnv+"=1")
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	for _, want := range []string{
		"--- FAIL: TestReport/wrap/binds-aad ",
		": wrap/binds-aad: opening a wrap with another AAD succeeds, want INTEGRITY\n",
		"--- PASS: TestReport/wrap/opens ",
		": rewrap/binds-aad is left out: it never could\n",
		"--- PASS: TestReport/rewrap/opens ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "TestReport/rewrap/binds-aad") {
		t.Errorf("an excused case was run:\n%s", out)
	}
}

// TestWithoutConstructor: a provider in another language is tested as a process.
func TestWithoutConstructor(t *testing.T) {
	h := toyHarness(t)
	h.New = nil
	var names []string
	for _, r := range routes(t, &h) {
		names = append(names, r.name)
	}
	if got := strings.Join(names, " "); got != "process killed" {
		t.Errorf("the ways are %q", got)
	}
}

func TestHarness(t *testing.T) {
	for want, change := range map[string]func(*Harness){
		"Info.Name is empty": func(h *Harness) { h.Info.Name = "" },
		"KEK is nil":         func(h *Harness) { h.KEK = nil },
		"set one of Package and Binary: two of the four ways need the plugin's binary": func(h *Harness) { h.Binary = "" },
		`there is no case "wrap/nothing", which Cannot names`: func(h *Harness) {
			h.Cannot = map[string]string{"wrap/nothing": "why"}
		},
		`no provider is excused from "wrap/binds-aad", which Cannot names`: func(h *Harness) {
			h.Cannot = map[string]string{"wrap/binds-aad": "why"}
		},
		`no reason is given for "mirror/conflict", which Cannot names`: func(h *Harness) {
			h.Cannot = map[string]string{"mirror/conflict": ""}
		},
		"<nil>": func(h *Harness) { h.Cannot = map[string]string{"mirror/conflict": "it cannot tell"} },
	} {
		h := toyHarness(t)
		change(&h)
		if got := fmt.Sprint(h.validate()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
