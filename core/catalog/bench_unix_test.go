//go:build unix

package catalog

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

func BenchmarkStartToFirstAnswer(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		h := newHost(b, nil)
		in := h.add("prod", "none")
		b.StartTimer()
		check(b, in)
		b.StopTimer()
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkKilledToNextAnswer(b *testing.B) {
	h := newHost(b, nil)
	h.policy.healthy = 0 // every end is the first
	in := h.add("prod", "none")
	check(b, in)
	for b.Loop() {
		if err := syscall.Kill(h.mustPID("prod"), syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		check(b, in)
	}
}

// BenchmarkOverhead makes the same call in turn through the catalog and through a
// plain go-plugin client under AutoMTLS, and compares the medians.
func BenchmarkOverhead(b *testing.B) {
	ctx := context.Background()
	req := provider.CheckRequest{}
	in := newHost(b, nil).add("prod", "quiet")
	bare := bareInstance(b)
	var ours, theirs []time.Duration
	timed := func(f func() error) time.Duration {
		begin := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		return time.Since(begin)
	}
	for b.Loop() {
		ours = append(ours, timed(func() error { _, err := in.Check(ctx, req); return err }))
		theirs = append(theirs, timed(func() error { _, err := bare.Check(ctx, req); return err }))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	p50, bare50 := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(0, "ns/op") // two calls; the medians say more
	b.ReportMetric(float64(p50.Microseconds()), "µs-p50")
	b.ReportMetric(float64(bare50.Microseconds()), "bare-µs-p50")
	b.ReportMetric(float64(p50)/float64(bare50), "ratio")
}

// bareInstance is the faulty plugin as go-plugin alone would run it.
func bareInstance(b *testing.B) *wire.Instance {
	b.Helper()
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          plugin.PluginSet{wire.PluginName: &wire.Plugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              exec.Command(filepath.Join(plugins.dir, FileName("faulty"))),
		Logger:           hclog.NewNullLogger(),
		AutoMTLS:         true,
		StartTimeout:     time.Minute,
	})
	b.Cleanup(client.Kill)
	rpc, err := client.Client()
	if err != nil {
		b.Fatal(err)
	}
	raw, err := rpc.Dispense(wire.PluginName)
	if err != nil {
		b.Fatal(err)
	}
	w := raw.(*wire.Client)
	config := provider.Body{Attributes: map[string]any{"journal": b.TempDir(), "fault": "quiet", "tries": int64(3)}}
	if err := w.Configure(context.Background(), "bare", config); err != nil {
		b.Fatal(err)
	}
	return w.Instance("bare")
}
