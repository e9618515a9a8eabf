package notify

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
)

// queueLength is how many notices wait for a handler that is slow.
const queueLength = 1024

// handler is a function that hears of notices, and what came of that since it was added.
type handler struct {
	name    string
	call    Handler
	types   []Type
	log     *slog.Logger
	handled atomic.Uint64
	dropped atomic.Uint64
	panics  atomic.Uint64
}

// HandlerStatus is how it stands with one handler.
type HandlerStatus struct {
	Name string `json:"name"`
	// Handled notices were given to it, Panics of them made it panic. Dropped ones found
	// its queue full.
	Handled uint64 `json:"handled"`
	Panics  uint64 `json:"panics"`
	Dropped uint64 `json:"dropped"`
}

// Handle has a function hear of notices, of all types if none is named: of what any
// process commits after Start, or after this call if that is later, within a second or
// so. It runs in a goroutine of its own, one notice after the other, and ctx ends when it
// should. What it is too slow for is dropped and logged, once 1024 notices wait; what is
// committed while nothing runs here, it never hears of. A target misses nothing.
//
// Handlers of one name are told apart by nothing but the order in which they were added.
func (n *Notifier) Handle(name string, h Handler, types ...Type) {
	added := &handler{name: name, call: h, types: slices.Clone(types), log: n.Log.With("handler", name)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handlers = append(n.handlers, added)
	if n.running != nil {
		n.running.listen(added)
	}
}

// Handlers tells how it stands with each handler, in the order in which they were added.
func (n *Notifier) Handlers() []HandlerStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]HandlerStatus, len(n.handlers))
	for i, h := range n.handlers {
		list[i] = HandlerStatus{Name: h.name, Handled: h.handled.Load(), Panics: h.panics.Load(), Dropped: h.dropped.Load()}
	}
	return list
}

// listener is a handler that is served.
type listener struct {
	*handler
	queue chan Notice
}

// offer puts a notice in the queue, if it is one to hear of and there is room.
func (l listener) offer(n Notice) {
	if l.types != nil && !slices.Contains(l.types, n.Type) {
		return
	}
	select {
	case l.queue <- n:
	default:
		l.dropped.Add(1)
		l.log.Error("a notice was dropped: its handler is too slow", "id", n.ID, "type", n.Type, "key", n.Key)
	}
}

// serve calls the handler until the queue is closed and empty, or ctx ends.
func (l listener) serve(ctx context.Context) {
	for n := range l.queue {
		if ctx.Err() != nil {
			return
		}
		l.handle(ctx, n)
	}
}

func (l listener) handle(ctx context.Context, n Notice) {
	defer func() {
		l.handled.Add(1)
		if r := recover(); r != nil {
			l.panics.Add(1)
			l.log.Error("a handler panicked", "id", n.ID, "type", n.Type, "key", n.Key, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	l.call(ctx, n)
}
