package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

const (
	// startTimeout bounds a start up to the first answer. A start takes some 60 ms. It is
	// less than a call may take, so that the call which waits for a start that hangs is
	// told of its end, and is tried again on another.
	startTimeout = DefaultTimeout - 2*time.Second
	// killAfter is how long a plugin may take to end when asked to.
	killAfter = 3 * time.Second
	// reapTimeout is how long go-plugin may take to let go of a killed process.
	reapTimeout = time.Second
)

// binary is one plugin executable and what it may see of the host.
type binary struct {
	typ, path, hash string
	env             []string
	socketRoots     []string
	log             *slog.Logger
	redact          *redactor
	// attach is set instead of the path if a developer runs the plugin.
	attach *wire.Attachment
}

// process is one running plugin.
type process struct {
	client  *wire.Client
	info    provider.Info
	started time.Time

	child    *child
	probing  bool // guarded by the supervisor's mu
	stopOnce sync.Once
	closers  []func() // run from the last to the first

	mu         sync.Mutex
	configured map[string]*configuration // by instance id
}

// configuration is the state of one instance in one process. Whoever holds the
// turn may look at it and change it.
type configuration struct {
	turn chan struct{} // holds one token
	done bool
}

func (c *configuration) take(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *configuration) give() { c.turn <- struct{}{} }

// launch starts a plugin and asks for its name. Nothing is left of a plugin that
// fails at any step.
func launch(ctx context.Context, b binary) (_ *process, err error) {
	p := &process{
		child:      newChild(b.typ, b.path, b.hash, b.env),
		configured: map[string]*configuration{},
	}
	defer func() {
		if err != nil {
			_ = p.child.Kill(ctx) // it has no instance yet that it could close
			p.stop()
		}
	}()
	sweepSocketDirs(time.Now(), b.socketRoots...)
	dir, err := makeSocketDir(b.socketRoots...)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() { _ = os.RemoveAll(dir) })

	client := p.newClient(b, dir)
	p.closers = append(p.closers, func() { p.end(client, b.log) })

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	rpc, err := p.connect(ctx, client)
	if err != nil {
		return nil, p.launchError(ctx, b, err)
	}
	raw, err := rpc.Dispense(wire.PluginName)
	if err != nil {
		return nil, p.launchError(ctx, b, err)
	}
	p.client = raw.(*wire.Client)
	if p.info, err = p.client.Info(ctx); err != nil {
		return nil, p.launchError(ctx, b, err)
	}
	if p.info.Name != b.typ {
		return nil, fmt.Errorf("%s calls itself %q: rename the file to %s if that is the plugin you want", b.path, p.info.Name, FileName(p.info.Name))
	}
	// The connection stands and is never made anew, so nobody needs the socket any
	// more, and a host that is killed leaves no directory behind.
	_ = os.RemoveAll(dir)
	p.started = time.Now()
	return p, nil
}

// newClient prepares go-plugin. Everything here serves one start: go-plugin
// keeps state in its config.
func (p *process) newClient(b binary, socketDir string) *plugin.Client {
	log := &logWriter{log: b.log, redact: b.redact}
	return plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  wire.Handshake(),
		Plugins:          plugin.PluginSet{wire.PluginName: &wire.Plugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     startTimeout,
		GRPCDialOptions:  dialOptions(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: socketDir},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			p.child.env = append(p.child.env, cmd.Env...)
			return p.child, nil
		},
		// Off keeps go-plugin from parsing what the plugin writes; see logWriter.
		Logger:     hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard}),
		Stderr:     log,
		SyncStdout: &logWriter{log: b.log, redact: b.redact},
		SyncStderr: &logWriter{log: b.log, redact: b.redact},
	})
}

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
		grpc.WithIdleTimeout(0), // an idle connection would be closed, and made anew
	}
}

// connect runs go-plugin's start aside, because it takes no context.
func (p *process) connect(ctx context.Context, client *plugin.Client) (plugin.ClientProtocol, error) {
	type result struct {
		rpc plugin.ClientProtocol
		err error
	}
	done := make(chan result, 1)
	go func() {
		rpc, err := client.Client()
		done <- result{rpc, err}
	}()
	select {
	case r := <-done:
		return r.rpc, r.err
	case <-ctx.Done():
		_ = p.child.Kill(ctx)
		p.child.cutOff()
		<-done // the streams and the connection ended with the process
		return nil, context.Cause(ctx)
	}
}

// launchError says why a start failed. What the plugin printed instead of the
// handshake is part of go-plugin's message; how it ended by itself is not.
func (p *process) launchError(ctx context.Context, b binary, err error) error {
	if _, ok := errors.AsType[*MismatchError](err); ok {
		return err
	}
	if ctx.Err() != nil {
		return provider.Errorf(provider.PluginCrashed, "plugin %q was not ready in time: %w", b.typ, context.Cause(ctx))
	}
	act := shorten(b.redact.text(err.Error()))
	if p.child.pid() == 0 {
		return provider.Errorf(provider.PluginCrashed, "plugin %q did not start: %s", b.typ, act)
	}
	if closedWithin(p.child.exited, exitGrace) && p.child.endedByItself() {
		act = "its process ended: " + p.child.state + ": " + act
	}
	return provider.Errorf(provider.PluginCrashed, "plugin %q did not start: %w", b.typ, &provider.PromiseError{
		Promise: fmt.Sprintf("a plugin begins with the handshake of protocol %d over gRPC", wire.Handshake().ProtocolVersion),
		Act:     act,
	})
}

// shorten makes text that a plugin may have chosen fit for a line of an error.
func shorten(s string) string {
	const most = 400
	s = strings.Join(strings.Fields(printable(s)), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// configure gives the process an instance's configuration, once.
func (p *process) configure(ctx context.Context, id string, body provider.Body) error {
	c := p.configuration(id)
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	if c.done {
		return nil
	}
	if err := p.client.Configure(ctx, id, body); err != nil {
		return err
	}
	c.done = true
	return nil
}

// release has the process let go of an instance, if it was configured.
func (p *process) release(ctx context.Context, id string) error {
	c := p.configuration(id)
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	if !c.done {
		return nil
	}
	c.done = false
	return p.client.CloseInstance(ctx, id)
}

// forget has the instance configured again before its next call.
func (p *process) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.configured, id)
}

func (p *process) configuration(id string) *configuration {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.configured[id]
	if !ok {
		c = &configuration{turn: make(chan struct{}, 1)}
		c.turn <- struct{}{}
		p.configured[id] = c
	}
	return c
}

// stop ends the process and removes what belonged to it. It takes at most some
// seconds, whatever the plugin does. A second call waits for the first.
func (p *process) stop() {
	p.stopOnce.Do(func() {
		for _, undo := range slices.Backward(p.closers) {
			undo()
		}
	})
}

// end asks the plugin to end, and after a while makes it.
func (p *process) end(client *plugin.Client, log *slog.Logger) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.Kill() // blocks for as long as the plugin does not answer
	}()
	if closedWithin(done, killAfter) {
		return
	}
	_ = p.child.Kill(context.Background())
	p.child.cutOff()
	if !closedWithin(done, reapTimeout) {
		log.Error("go-plugin holds on to a killed plugin process", "pid", p.child.pid())
	}
}

func closedWithin(ch <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		return false
	}
}
