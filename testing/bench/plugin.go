package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/bench/bare"
)

// pluginRows are about provider plugins, as processes under mutual TLS.
func (l *lab) pluginRows() []row {
	return []row{
		absolute("plugin: start to first answer", atMost(100e6), nanoseconds, l.startPlugin),
		absolute("plugin: killed to next answer", atMost(150e6), nanoseconds, l.killPlugin),
		singly("plugin: a call, against a bare go-plugin echo", atMost(1.2), l.callPlugin, l.callBare),
	}
}

const (
	echoPlugin  = "echo"
	localPlugin = "local"
	// instance is the name of the only provider of each catalog.
	instance = "bench"
)

// pluginDir is a folder of built plugins, and their pins.
type pluginDir struct {
	path string
	bare string // the binary that the catalog knows nothing of
	lock *catalog.Lock
}

func (l *lab) buildPlugins() pluginDir {
	p := pluginDir{path: l.path("plugins"), bare: l.path("bare"), lock: catalog.NewLock()}
	check(os.Mkdir(p.path, 0o700))
	build := func(out, pkg string) {
		if text, err := exec.CommandContext(l.ctx, "go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
			check(fmt.Errorf("building %s: %w\n%s", pkg, err, text))
		}
	}
	build(filepath.Join(p.path, catalog.FileName(echoPlugin)), "./plugins/echo")
	build(filepath.Join(p.path, catalog.FileName(localPlugin)), "github.com/keyrotor/keyrotor/plugins/local")
	build(p.bare, "./plugins/bare")
	check(p.lock.Pin(l.ctx, p.path, slog.New(slog.DiscardHandler)))
	return p
}

// newPlugin answers a catalog and its only instance; no process runs yet.
func (l *lab) newPlugin(typ string, attributes map[string]any) (*catalog.Catalog, *catalog.Instance) {
	p := l.plugins()
	c := must(catalog.New(catalog.Config{PluginDir: p.path, Lock: p.lock}))
	check(c.Add(instance, typ, provider.Body{Attributes: attributes}))
	return c, must(c.Provider(instance))
}

// processOf is the process behind the only instance.
func processOf(c *catalog.Catalog) int {
	pid, ok := c.PID(instance)
	expect(ok, "the plugin does not run")
	return pid
}

func (l *lab) startPlugin(d time.Duration) float64 {
	return watch(func() float64 {
		c, in := l.newPlugin(echoPlugin, nil)
		defer func() { check(c.Close()) }()
		return repeat(func() { must(in.Check(l.ctx, provider.CheckRequest{})) }, 1)
	}, d)
}

func (l *lab) killPlugin(d time.Duration) float64 {
	return watch(func() float64 {
		c, in := l.newPlugin(echoPlugin, nil)
		defer func() { check(c.Close()) }()
		must(in.Check(l.ctx, provider.CheckRequest{}))
		check(must(os.FindProcess(processOf(c))).Kill())
		return repeat(func() { must(in.Check(l.ctx, provider.CheckRequest{})) }, 1)
	}, d)
}

func (l *lab) callPlugin() (turn func()) {
	c, in := l.newPlugin(echoPlugin, nil)
	l.later(c.Close)
	items := []provider.WrapItem{{Plaintext: provider.NewSecret(random(provider.RootSize)), AAD: random(100)}}
	return func() { must(in.Wrap(l.ctx, items)) }
}

func (l *lab) callBare() (turn func()) {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  bare.Handshake(),
		Plugins:          plugin.PluginSet{bare.Name: &bare.Plugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              exec.CommandContext(l.ctx, l.plugins().bare),
		Logger:           hclog.NewNullLogger(),
		AutoMTLS:         true,
	})
	l.later(func() error { client.Kill(); return nil })
	echo := must(must(client.Client()).Dispense(bare.Name)).(*bare.Client)
	message := random(provider.RootSize + 100)
	return func() { must(echo.Echo(l.ctx, message)) }
}
