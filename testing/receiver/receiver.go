// Package receiver is a receiver of webhooks as its user would write it: it verifies
// signatures with the library of standardwebhooks.com and reads events with that of
// CloudEvents, which is how the tests know that ours are what they claim to be. Like
// those of users, it can be away, slow and wrong.
package receiver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyrotor/keyrotor/core/notify"
)

// patience is how long a machine that is slow may take for anything.
const patience = 60 * time.Second

// overlap is how long a client may be gone before its request ends.
const overlap = time.Second

// Event is a request that was verified.
type Event struct {
	// ID is that of the header and of the event, which are the same.
	ID   string
	Type string
	// Source names the store, Subject the key.
	Source, Subject string
	Notice          notify.Notice
	Header          http.Header
	Body            string
	// Status is what was answered, 0 if nothing was.
	Status int
}

// Test is the part of a test that a receiver needs.
type Test interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// Receiver is a server on an address of its own, which it keeps when it is away.
type Receiver struct {
	test    Test
	addr    string
	webhook *standardwebhooks.Webhook

	mu     sync.Mutex
	server *http.Server
	status int
	hang   chan struct{}            // closed when what hangs may end
	open   map[string]chan struct{} // by id, closed at the end of its newest request
	events []Event
	more   chan struct{} // closed at each event, and replaced
}

// New starts a receiver for a secret, as the config has it. It answers 204.
func New(test Test, secret string) *Receiver {
	test.Helper()
	webhook, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	if strings.HasPrefix(secret, "whsec_") {
		webhook, err = standardwebhooks.NewWebhook(secret)
	}
	if err != nil {
		test.Fatalf("%v", err)
	}
	r := &Receiver{test: test, addr: "127.0.0.1:0", webhook: webhook, status: http.StatusNoContent, more: make(chan struct{}), open: make(map[string]chan struct{})}
	r.Up()
	test.Cleanup(func() {
		r.Answer(http.StatusServiceUnavailable) // whoever hangs
		r.Down()
	})
	return r
}

// URL is where it listens, or did.
func (r *Receiver) URL() string { return "http://" + r.addr + "/hooks/keyrotor" }

// Up has it listen.
func (r *Receiver) Up() {
	r.test.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", r.addr)
	if err != nil {
		r.test.Fatalf("%v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(r.receive), ReadHeaderTimeout: patience}
	r.server = server
	go func() { _ = server.Serve(l) }()
}

// Down has it away: connections are refused, and those that there are, cut.
func (r *Receiver) Down() {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	_ = server.Close()
}

// Answer has it answer with a status from now on, also to who hangs.
func (r *Receiver) Answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
	if r.hang != nil {
		close(r.hang)
		r.hang = nil
	}
}

// Hang has it answer nothing until Answer is called.
func (r *Receiver) Hang() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hang == nil {
		r.hang = make(chan struct{})
	}
}

func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) {
	e, err := r.read(req)
	if err != nil {
		r.test.Errorf("a request that is no webhook of ours: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	defer r.alone(e.ID)()
	r.mu.Lock()
	hang := r.hang
	r.mu.Unlock()
	if hang != nil {
		r.add(e)
		select {
		case <-hang:
		case <-req.Context().Done():
			return
		}
	}
	r.mu.Lock()
	e.Status = r.status
	r.mu.Unlock()
	w.WriteHeader(e.Status)
	r.add(e)
}

// alone sees to it that a notice comes once at a time: one process delivers, and does not
// try again before it has given up. It answers what is to be called at the end.
func (r *Receiver) alone(id string) (end func()) {
	r.mu.Lock()
	before, done := r.open[id], make(chan struct{})
	r.open[id] = done
	r.mu.Unlock()
	if before != nil {
		select {
		case <-before: // that a client has gone is heard a moment later
		case <-time.After(overlap):
			r.test.Errorf("%s comes twice at a time", id)
		}
	}
	return func() { close(done) }
}

func (r *Receiver) read(req *http.Request) (Event, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return Event{}, err
	}
	if err := r.webhook.Verify(body, req.Header); err != nil {
		return Event{}, err
	}
	if t := req.Header.Get("Content-Type"); !strings.HasPrefix(t, "application/cloudevents+json") {
		return Event{}, fmt.Errorf("the content type is %q", t)
	}
	var event cloudevents.Event
	if err := event.UnmarshalJSON(body); err != nil {
		return Event{}, err
	}
	if err := event.Validate(); err != nil {
		return Event{}, err
	}
	e := Event{ID: event.ID(), Type: event.Type(), Source: event.Source(), Subject: event.Subject(), Header: req.Header, Body: string(body)}
	if id := req.Header.Get(standardwebhooks.HeaderWebhookID); id != e.ID {
		return Event{}, fmt.Errorf("the header says %q, and the event %q", id, e.ID)
	}
	return e, event.DataAs(&e.Notice)
}

func (r *Receiver) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.more)
	r.more = make(chan struct{})
}

// All are the requests so far, those that hung once more when they were answered.
func (r *Receiver) All() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}

// Taken are the events that were answered by success, in that order. One may be there
// twice.
func (r *Receiver) Taken() []Event {
	var taken []Event
	for _, e := range r.All() {
		if e.Status >= 200 && e.Status < 300 {
			taken = append(taken, e)
		}
	}
	return taken
}

// Wait waits until what came is as it is to be, and says so if that takes too long.
func (r *Receiver) Wait(what string, is func(all []Event) bool) {
	r.test.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		more := r.more
		r.mu.Unlock()
		all := r.All()
		if is(all) {
			return
		}
		select {
		case <-more:
		case <-deadline:
			r.test.Fatalf("it does not come: %s; there are %d requests: %+v", what, len(all), all)
		}
	}
}
