package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// lookInterval is how often the feed's end is looked at.
	lookInterval = time.Second
	// housekeeping is how often what is over is swept, and the store told that the targets
	// are still there.
	housekeeping = 24 * time.Hour
	// keep is how long rows stay after their end, and subscribers that nobody names.
	keep = 30 * 24 * time.Hour
	// storeTimeout bounds what is asked of the store beyond the end of a context.
	storeTimeout = 5 * time.Second
	// abortGrace is how long those that were told to end may take for it.
	abortGrace = time.Second
)

// run is the time from Start to Stop.
type run struct {
	cancel  context.CancelFunc // of looking
	abort   context.CancelFunc // of sends and handlers that are under way
	looking context.Context    //nolint:containedctx // Start makes both, and Stop ends them
	acting  context.Context    //nolint:containedctx // likewise
	ended   chan struct{}      // every task has

	mu        sync.Mutex
	tasks     sync.WaitGroup
	active    map[string]int // tasks by name
	listeners []listener
	closed    bool // no listener is added
}

func newRun() *run {
	r := &run{ended: make(chan struct{}), active: make(map[string]int)}
	r.looking, r.cancel = context.WithCancel(context.Background())
	r.acting, r.abort = context.WithCancel(context.Background())
	return r
}

// do runs a task. The caller holds mu, or nothing else has the run yet.
func (r *run) do(name string, task func()) {
	r.active[name]++
	r.tasks.Go(func() {
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.active[name]--; r.active[name] == 0 {
				delete(r.active, name)
			}
		}()
		task()
	})
}

// listen serves a handler from now on.
func (r *run) listen(h *handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	l := listener{h, make(chan Notice, queueLength)}
	r.listeners = append(r.listeners, l)
	r.do("handler "+h.name, func() { l.serve(r.acting) })
}

// heard are those who listen now.
func (r *run) heard() []listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.listeners)
}

// close ends the queues. Only whoever fills them may.
func (r *run) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, l := range r.listeners {
		close(l.queue)
	}
}

// left names the tasks that have not ended.
func (r *run) left() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.active))
	for name := range r.active {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Start begins to deliver, in goroutines of its own. ErrRunning if it was started before.
// A notifier that was stopped may be started again.
func (n *Notifier) Start() error {
	r, err := n.newRun()
	if err != nil {
		return err
	}
	// Handlers hear of what is committed from here on. If the store is away, they hear of
	// what is committed after it is back.
	ctx, cancel := context.WithTimeout(r.looking, storeTimeout)
	defer cancel()
	t := &tail{notifier: n, run: r}
	t.begin(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.do("feed", func() { n.follow(r, t) })
	for _, target := range n.targets {
		r.do("target "+target.Name, func() { target.serve(r) })
	}
	go func() {
		<-r.looking.Done() // no task is added after this but by those that run
		r.tasks.Wait()
		close(r.ended)
	}()
	return nil
}

// newRun is one that has nothing to do yet, for which nobody has to wait but Stop.
func (n *Notifier) newRun() (*run, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != nil {
		return nil, ErrRunning
	}
	n.running = newRun()
	for _, h := range n.handlers {
		n.running.listen(h)
	}
	return n.running, nil
}

// Stop ends the delivering. It waits for what is being sent, and for handlers until they
// have heard of all that was committed, as long as ctx lasts; then they are told to end.
// The error names those that do not. A notifier that does not run is stopped.
func (n *Notifier) Stop(ctx context.Context) error {
	n.mu.Lock()
	r := n.running
	n.mu.Unlock()
	if r == nil {
		return nil
	}
	r.cancel()
	select {
	case <-r.ended:
	case <-ctx.Done():
	}
	r.abort()
	grace := n.Clock.NewTimer(abortGrace)
	defer grace.Stop()
	var err error
	select {
	case <-r.ended:
	case <-grace.Chan():
		err = fmt.Errorf("notify: %s: still busy, and left behind", r.left())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running == r {
		n.running = nil
	}
	return err
}

// follow looks at the feed until Stop.
func (n *Notifier) follow(r *run, t *tail) {
	defer r.close()
	var kept time.Time
	var down bool
	timer := n.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.looking.Done():
			// What this process committed just before it ends, its handlers shall hear of.
			ctx, cancel := context.WithTimeout(r.acting, storeTimeout)
			defer cancel()
			_ = t.look(ctx)
			return
		case <-timer.Chan():
		case <-n.nudged:
		}
		err := t.look(r.looking)
		if now := n.Clock.Now(); err == nil && (now.Sub(kept) >= housekeeping || now.Before(kept)) {
			if err = n.keepHouse(r.looking, now); err == nil {
				kept = now
			}
		}
		n.logStore(r.looking, err, &down)
		timer.Stop()
		timer.Reset(lookInterval)
	}
}

// keepHouse sweeps what is over.
func (n *Notifier) keepHouse(ctx context.Context, now time.Time) error {
	if err := n.Subscribe(ctx); err != nil {
		return err
	}
	return n.Store.Sweep(ctx, now.Add(-keep), now.Add(-keep))
}

// logStore says once that the store is away, and once that it is back.
func (n *Notifier) logStore(ctx context.Context, err error, down *bool) {
	switch {
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
	case err != nil && !*down:
		*down = true
		n.Log.Warn("notices cannot be read from the store: it is tried again every second", "error", err)
	case err == nil && *down:
		*down = false
		n.Log.Info("notices can be read from the store again")
	}
}
