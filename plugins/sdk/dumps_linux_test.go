package sdk

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Check answers what the kernel would do with the plugin's memory.
func (m *processManager) Check(context.Context, provider.CheckRequest) (provider.CheckResponse, error) {
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
		return provider.CheckResponse{}, err
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return provider.CheckResponse{Identity: fmt.Sprintf("core %d %d, dumpable %d", core.Cur, core.Max, dumpable)}, err
}

func TestThePluginsMemoryIsNotDumped(t *testing.T) {
	p := startProcess(t)
	p.configure(t, false)
	check, err := p.client.Instance("one").Check(t.Context(), provider.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "core 0 0, dumpable 0"; check.Identity != want {
		t.Errorf("got %q, want %q", check.Identity, want)
	}
}

// TestDebuggersMayEnterADebuggedPlugin: it is what -debug is for.
func TestDebuggersMayEnterADebuggedPlugin(t *testing.T) {
	client := startDebugged(t, "-debug").client(t)
	if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	check, err := client.Instance("one").Check(t.Context(), provider.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(check.Identity, ", dumpable 1") {
		t.Errorf("got %q", check.Identity)
	}
}
