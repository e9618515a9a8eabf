package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// batch is the timing of records that are written together: an interval after the first
// one, and when the engine is closed. Who embeds it keeps them under mu, calls arm when
// there are some, and sets the fields of the first group.
type batch struct {
	clock    clockwork.Clock
	interval time.Duration
	// timeout bounds a try that nobody waits for; failed hears what became of it.
	timeout time.Duration
	failed  func(error)
	// write writes down what there is, and keeps what it cannot.
	write func(context.Context) error

	mu     sync.Mutex
	timer  clockwork.Timer // set while it runs
	closed bool
	// writing is held by whoever writes.
	writing gate
}

// arm lets everything be recorded in a while. The caller holds mu.
func (b *batch) arm() {
	if b.timer == nil && !b.closed {
		b.timer = b.clock.AfterFunc(b.interval, b.due)
	}
}

func (b *batch) due() {
	b.mu.Lock()
	b.timer = nil
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	if err := b.record(ctx); err != nil {
		b.failed(err)
	}
}

// record writes at once. It waits for who does so already.
func (b *batch) record(ctx context.Context) error {
	if err := b.writing.enter(ctx); err != nil {
		return fmt.Errorf("wait for another to write records: %w", err)
	}
	defer b.writing.leave()
	return b.write(ctx)
}

// close records what is left. Nothing is recorded by itself from here on.
func (b *batch) close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	b.mu.Unlock()
	return b.record(ctx)
}
