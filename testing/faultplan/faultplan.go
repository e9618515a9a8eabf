// Package faultplan is the one vocabulary for what goes wrong between a plugin and
// its key manager, whatever protocol is spoken there. A test writes a plan; the
// server in the middle (testing/faultproxy, or a fake key manager) asks the plan
// about every call and does what it says, in the words of its protocol.
//
// It is about calls on a network. What a provider itself does wrong is in
// testing/faults.
package faultplan

import (
	"strings"
	"sync"
	"time"
)

// Kind is a way in which a call goes wrong.
type Kind int

// The kinds, and None for a call that is passed on as it is.
const (
	None        Kind = iota
	Latency          // applied and answered, but late
	Throttle         // refused: too many calls
	ServerError      // refused: the server is at fault
	Denied           // refused: no right to do this
	CutBefore        // the connection breaks before the call is applied
	CutAfter         // the call is applied, and its answer lost
	WrongAnswer      // the call is applied, and its answer changed
)

// Fault is one thing that goes wrong. Make it with the function of its kind's name.
type Fault struct {
	Kind Kind
	// Delay is how late a Latency is, and when a Throttle says to come again.
	Delay time.Duration
	// Status is that of a ServerError, as an HTTP status; other protocols have
	// their counterpart of it.
	Status int
	// Rewrite gets the body of the right answer and makes the wrong one of it.
	Rewrite func(body []byte) []byte
}

// Late delays calls by d, or until the caller has gone, whose call is then not applied.
func Late(d time.Duration) Fault { return Fault{Kind: Latency, Delay: d} }

// Throttled refuses calls and says to come again after a time; with 0 it does not say.
func Throttled(after time.Duration) Fault { return Fault{Kind: Throttle, Delay: after} }

// Failed refuses calls with an HTTP status from 500 on.
func Failed(status int) Fault { return Fault{Kind: ServerError, Status: status} }

// Refused refuses calls for want of a right.
func Refused() Fault { return Fault{Kind: Denied} }

// Cut breaks the connection before a call is applied.
func Cut() Fault { return Fault{Kind: CutBefore} }

// Lost breaks the connection after a call was applied.
func Lost() Fault { return Fault{Kind: CutAfter} }

// Wrong passes calls on and changes the body of the answer.
func Wrong(rewrite func(body []byte) []byte) Fault {
	return Fault{Kind: WrongAnswer, Rewrite: rewrite}
}

// Call is a call that was seen.
type Call struct {
	// Name is what rules are matched with: "PUT /v1/transit/encrypt/k" in HTTP,
	// "TrentService.Encrypt" at AWS, the full method in gRPC.
	Name string
	// Header is what came with it: HTTP's headers, or gRPC's metadata, by
	// canonical names.
	Header map[string][]string
	// Fault is what was done to it.
	Fault Kind
}

// Plan says which calls go wrong, and remembers all that it was asked about. The
// zero Plan lets everything pass. It may be changed while calls arrive.
type Plan struct {
	mu    sync.Mutex
	rules []*rule
	calls []Call
}

type rule struct {
	pattern string
	left    int // calls yet to go wrong; under 0, all
	fault   Fault
}

// Next makes the next n calls that match the pattern go wrong. In a pattern, * is any run
// of characters, slashes too: "PUT /v1/transit/decrypt/*". Of several rules that
// match, the one that was added first and is not used up holds.
func (p *Plan) Next(n int, pattern string, f Fault) {
	if n > 0 {
		p.add(&rule{pattern: pattern, left: n, fault: f})
	}
}

// Every makes all calls that match the pattern go wrong, until Clear.
func (p *Plan) Every(pattern string, f Fault) {
	p.add(&rule{pattern: pattern, left: -1, fault: f})
}

func (p *Plan) add(r *rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, r)
}

// Clear lets everything pass again. What was seen stays.
func (p *Plan) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Pending says how many calls are still to go wrong by rules of Next. A test that
// ends with some has not tested what it meant to.
func (p *Plan) Pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.rules {
		n += max(r.left, 0)
	}
	return n
}

// Take is for the server in the middle: it notes a call and answers what to do to it.
func (p *Plan) Take(name string, header map[string][]string) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fault Fault
	for _, r := range p.rules {
		if r.left != 0 && Match(r.pattern, name) {
			fault = r.fault
			r.left-- // one that was under 0 stays there
			break
		}
	}
	p.calls = append(p.calls, Call{Name: name, Header: header, Fault: fault.Kind})
	return fault
}

// Calls are those seen that match the pattern, in the order of their arrival.
func (p *Plan) Calls(pattern string) []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	var calls []Call
	for _, c := range p.calls {
		if Match(pattern, c.Name) {
			calls = append(calls, c)
		}
	}
	return calls
}

// Forget drops what was seen.
func (p *Plan) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = nil
}

// Match says whether a name matches a pattern, in which * is any run of characters.
func Match(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		_, after, found := strings.Cut(name, part)
		if !found {
			return false
		}
		name = after
	}
	return strings.HasSuffix(name, last)
}
