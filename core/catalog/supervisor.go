package catalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

const (
	// exitGrace is how long to wait for a process's end after its connection broke:
	// the connection's end is often seen first.
	exitGrace = 300 * time.Millisecond
	// probeTimeout is how long a plugin that let a call run out of time may take to
	// answer GetInfo, which touches no network, before it counts as hung.
	probeTimeout = 5 * time.Second
)

// errClosed is what calls fail with after Close.
var errClosed = errors.New("the catalog is closed")

// supervisor keeps at most one process of one plugin type, which all instances of
// that type share. It starts on the first call, and again on the first call after
// the process ended.
type supervisor struct {
	typ string
	// locate answers the binary as it is now. Its errors are for an operator to
	// solve, so they are neither counted nor waited for.
	locate func() (binary, error)
	redact *redactor

	ctx    context.Context //nolint:containedctx // the supervisor's own life, which ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex
	current  *process
	starting *start
	restarts *restarts
	lastEnd  error
}

// start is one attempt to start the process; those who wait for it share it.
type start struct {
	done    chan struct{} // closed once the rest is set
	process *process
	err     error
}

func newSupervisor(typ string, policy restartPolicy, locate func() (binary, error)) *supervisor {
	ctx, cancel := context.WithCancel(context.Background())
	return &supervisor{
		typ: typ, locate: locate, redact: &redactor{},
		ctx: ctx, cancel: cancel, restarts: newRestarts(policy),
	}
}

// do runs one call on the process, which it starts if need be and configures for
// the instance. It does not repeat the call, with one exception: a plugin that
// does not know the instance has done nothing, and is told again.
func (s *supervisor) do(ctx context.Context, id string, body provider.Body, f func(context.Context, *wire.Instance) error) error {
	if !s.begin() {
		return errClosed
	}
	defer s.tasks.Done()
	p, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	once := func() error {
		if err := p.configure(ctx, id, body); err != nil {
			return err
		}
		return f(ctx, p.client.Instance(id))
	}
	err = once()
	if errors.Is(err, provider.NotFoundInstance) {
		p.forget(id)
		err = once()
	}
	return s.classify(ctx, p, err)
}

// begin counts a call as under way, so that Close waits for it: it may be reading
// the secrets that Close wipes. It ends by itself then, with the process.
func (s *supervisor) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.tasks.Add(1)
	return true
}

// acquire answers the running process, or waits for the next start.
func (s *supervisor) acquire(ctx context.Context) (*process, error) {
	s.mu.Lock()
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return nil, errClosed
	}
	if p := s.current; p != nil && !p.child.hasExited() {
		s.mu.Unlock()
		return p, nil
	}
	s.noteEnd()
	if s.starting == nil {
		now := time.Now()
		if s.restarts.open(now) {
			defer s.mu.Unlock()
			return nil, provider.Errorf(provider.PluginCrashed,
				"plugin %q ended %d times in a row and rests for another %s, see its log: %w",
				s.typ, s.restarts.ends, s.restarts.pause(now).Round(time.Millisecond), s.lastEnd)
		}
		s.starting = &start{done: make(chan struct{})}
		pause, attempt := s.restarts.pause(now), s.starting
		s.tasks.Go(func() { s.start(attempt, pause) })
	}
	attempt := s.starting
	s.mu.Unlock()

	select {
	case <-attempt.done:
		return attempt.process, attempt.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for plugin %q to start: %w", s.typ, ctx.Err())
	}
}

// noteEnd counts the end of the current process, if there was one. The caller
// holds mu and knows that it has ended.
func (s *supervisor) noteEnd() {
	p := s.current
	if p == nil {
		return
	}
	s.current = nil
	s.lastEnd = p.crashed(nil)
	s.restarts.ended(p.child.ended, p.child.ended.Sub(p.started))
}

// start carries one attempt out. It runs apart from the calls that wait for it,
// so that none of them can cancel it for the others.
func (s *supervisor) start(attempt *start, pause time.Duration) {
	p, err := s.launch(pause)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = nil
	if errors.Is(err, provider.PluginCrashed) {
		s.lastEnd = err
		s.restarts.ended(time.Now(), 0)
	}
	s.current = p
	attempt.process, attempt.err = p, err
	close(attempt.done)
}

func (s *supervisor) launch(pause time.Duration) (*process, error) {
	select {
	case <-time.After(pause):
	case <-s.ctx.Done():
		return nil, errClosed
	}
	b, err := s.locate()
	if err != nil {
		return nil, err
	}
	b.redact = s.redact
	begin := launch
	if b.attach != nil {
		begin = attach
	}
	p, err := begin(s.ctx, b)
	if s.ctx.Err() != nil && err != nil {
		return nil, errClosed
	}
	if err != nil {
		return nil, err
	}
	b.log.Info("plugin started", "version", p.info.Version, "pid", p.child.pid())
	s.tasks.Go(func() { s.watch(p, b) })
	return p, nil
}

// watch clears away as soon as the process has ended, and ends it with the catalog.
func (s *supervisor) watch(p *process, b binary) {
	select {
	case <-p.child.exited:
		b.log.Warn("plugin process ended unexpectedly", "pid", p.child.pid(), "state", p.child.state)
	case <-s.ctx.Done():
	}
	p.stop()
}

// classify tells a plugin's end from a key manager's failure, and puts an end to a
// plugin that cannot be talked to any more.
func (s *supervisor) classify(ctx context.Context, p *process, err error) error {
	switch {
	case err == nil:
		return nil
	case brokePromise(err):
		return err // the answer came whole, whatever became of the process
	case ctx.Err() == nil && p.child.hasExited() && (provider.Transient(err) || errors.Is(err, provider.Internal)):
		return p.crashed(err) // an answer that is cut in the middle looks like a defect
	case errors.Is(err, provider.PluginCrashed):
		if !closedWithin(p.child.exited, exitGrace) {
			_ = p.child.Kill(ctx)
		}
		return p.crashed(err)
	case errors.Is(err, context.DeadlineExceeded):
		s.probe(p)
	}
	return err
}

func brokePromise(err error) bool {
	_, ok := errors.AsType[*provider.PromiseError](err)
	return ok
}

// probe ends a process that does not even say its name. Calls that run on it are
// lost already, and the next one starts another.
func (s *supervisor) probe(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || p.probing {
		return
	}
	p.probing = true
	s.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, probeTimeout)
		defer cancel()
		if _, err := p.client.Info(ctx); err != nil && s.ctx.Err() == nil {
			_ = p.child.Kill(ctx)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		p.probing = false
	})
}

// pid is the process id, if one runs.
func (s *supervisor) pid() (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.child.hasExited() {
		return 0, false
	}
	return s.current.child.pid(), true
}

// release has the plugin let go of an instance, if it runs and knows it.
func (s *supervisor) release(ctx context.Context, id string) error {
	s.mu.Lock()
	p := s.current
	s.mu.Unlock()
	if p == nil || p.child.hasExited() {
		return nil
	}
	return s.classify(ctx, p, p.release(ctx, id))
}

// close ends the process and everything that was under way, within seconds.
func (s *supervisor) close() {
	s.mu.Lock()
	s.cancel() // under mu, so that no task begins from here on
	s.mu.Unlock()
	s.tasks.Wait()
	s.redact.wipe()
}

// crashed is the error of a call that the process's end cut off, or that found
// no connection.
func (p *process) crashed(cause error) error {
	what := "its connection broke"
	if p.child.hasExited() {
		what = "its process ended: " + p.child.state
	}
	return &provider.Error{Code: provider.PluginCrashed, Message: "the plugin is gone, " + what, Err: cause}
}
