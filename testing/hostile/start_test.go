package hostile

import (
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// TestStarts has a plugin that was fine before not get as far as to serve. A host
// that has opened the keys goes on; one that has not cannot rotate.
func TestStarts(t *testing.T) {
	t.Parallel()
	const handshake = `PLUGIN_CRASHED: plugin "faulty" did not start: broke its promise: a plugin begins with the handshake of protocol 1 over gRPC; `
	for fault, act := range map[string]string{
		"garbage":      `error parsing core protocol version: strconv.Atoi: parsing "\x00\xff": invalid syntax`,
		"chatter":      "Unrecognized remote plugin message: welcome to �[31mfaulty�[0m",
		"flood":        "Unrecognized remote plugin message: Failed to read any lines from plugin's stdout",
		"net-rpc":      `unsupported plugin protocol "netrpc". Supported: [grpc]`,
		"no-tls":       `PLUGIN_CRASHED: connection to the plugin: Unavailable: connection error: desc = "transport: authentication handshake failed: tls: first record does not look like a TLS handshake"`,
		"app-version":  "incompatible API version with plugin. Plugin version: 9, Client versions: [1]",
		"core-version": "incompatible core API version with plugin. Plugin version: 2, Core version: 1 To fix this, the plugin usually only needs to be recompiled. Please report this to the plugin author",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			warm := s.open()
			s.readable(warm)
			s.startFault(fault)
			kr := s.open()
			err := s.refusal(t.Context(), kr, payments, "plugin_crashed", said("prod", "GenerateDataKey")+handshake+act)
			if !is[*provider.PromiseError](err) {
				t.Errorf("%#v is no broken promise", err)
			}
			s.readable(warm)
			s.startFault(none)
			s.rotates(kr, payments)
			s.readable(kr)
		})
	}
}

// TestCrashLoopAtTheStart: the error says how the process ended. What go-plugin says
// besides depends on what it sees first.
func TestCrashLoopAtTheStart(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.startFault("exit")
	kr := s.open()
	_, err := kr.Rotate(t.Context(), payments, "manual", "")
	if want := "over gRPC; its process ended: exit status 7: "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want it to say %s", err, want)
	}
	if got := s.primary(kr, payments); got != 1 {
		t.Errorf("version %d is the primary", got)
	}
	s.startFault(none)
	s.rotates(kr, payments)
	s.readable(kr)
}

// TestSlowStart: whoever waits for a plugin waits no longer than they want to, and
// the start that hangs ends with the host.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.startFault("hang")
	d := newDeadline(t)
	kr := s.openWith(core.Opener{OnStep: func(_ string, step rotation.Step) {
		if step == rotation.StepIntent {
			d.pass()
		}
	}})
	s.refuses(d, kr, payments, "timeout", said("prod", "GenerateDataKey")+`waiting for plugin "faulty" to start: context deadline exceeded`)
	must(t, kr.Close())
	s.startFault(none)
	kr = s.open()
	s.rotates(kr, payments)
	s.readable(kr)
}
