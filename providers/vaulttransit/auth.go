package vaulttransit

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/keyrotor/keyrotor/core/provider"
)

// revokeTimeout is short because a plugin that ends has a second for everything.
const revokeTimeout = 700 * time.Millisecond

// session is one token at work.
type session struct {
	client *api.Client
	// origin tells whether the token still is what the block says.
	origin string
	// given tokens are the user's, and never revoked here.
	given bool
	// over is closed when renewal ends, some time before the token does.
	over chan struct{}
	// stop ends renewal.
	stop chan struct{}
}

func (s *session) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// grant is a token as its method got it.
type grant struct {
	token     string
	given     bool
	origin    string
	lease     time.Duration // zero if it does not expire
	renewable bool
}

// authenticator logs in when a token is needed: one login at a time, whoever asks.
type authenticator struct {
	settings  *settings
	transport http.RoundTripper
	life      context.Context //nolint:containedctx // the instance's own, which no call has

	running sync.WaitGroup

	mu      sync.Mutex
	current *session
	flight  *flight
	closed  bool
}

// flight is a login under way. It is nobody's in particular: who waits may go, and the
// login serves the others.
type flight struct {
	done    chan struct{}
	session *session
	err     error
}

// session answers one that is not used up and is another than stale.
func (a *authenticator) session(ctx context.Context, stale *session) (*session, error) {
	f, s := a.join(stale)
	if s != nil {
		return s, nil
	}
	select {
	case <-f.done:
		return f.session, f.err
	case <-ctx.Done():
		return nil, provider.Errorf(provider.Unavailable, "waiting for the login to Vault: %w", ctx.Err())
	}
}

// join answers a session that will do, or the login to wait for.
func (a *authenticator) join(stale *session) (*flight, *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.current
	if s != nil && s != stale && !s.ended() && a.settings.method.origin() == s.origin {
		return nil, s
	}
	if a.flight == nil {
		a.flight = &flight{done: make(chan struct{})}
		f := a.flight
		a.running.Go(func() { a.fly(f) })
	}
	return a.flight, nil
}

func (a *authenticator) fly(f *flight) {
	defer close(f.done)
	f.session, f.err = a.login()
	a.mu.Lock()
	a.flight = nil
	replaced, late := a.current, a.closed
	if f.err == nil && !late {
		a.current = f.session
	}
	a.mu.Unlock()
	switch {
	case f.err != nil:
	case late:
		a.end(f.session)
	case replaced != nil:
		close(replaced.stop) // calls may still be at work with it: it expires by itself
	}
}

// login asks for a token and keeps it renewed.
func (a *authenticator) login() (*session, error) {
	g, err := a.settings.method.login(a.life, a.settings, func(token string) (*api.Client, error) {
		return newClient(a.settings, a.transport, token)
	})
	if err != nil {
		return nil, err
	}
	client, err := newClient(a.settings, a.transport, g.token)
	if err != nil {
		return nil, err
	}
	s := &session{client: client, origin: g.origin, given: g.given, over: make(chan struct{}), stop: make(chan struct{})}
	if g.lease > 0 && (g.renewable || !g.given) {
		a.running.Go(func() { a.keep(s, g) })
	}
	return s, nil
}

// keep renews the token while Vault lets it live, and then declares the session over, so
// that the next call logs in again before the token expires.
//
// A watcher renews at once when it starts. A token that is new needs that no more than a
// command of a second does, so it starts at half time.
func (a *authenticator) keep(s *session, g grant) {
	if !g.given {
		defer close(s.over)
	}
	if g.renewable {
		half := time.NewTimer(g.lease / 2)
		defer half.Stop()
		select {
		case <-half.C:
		case <-s.stop:
			return
		}
		g.lease /= 2
	}
	watcher, err := s.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: &api.Secret{Auth: &api.SecretAuth{
		ClientToken: g.token, Renewable: g.renewable, LeaseDuration: int(g.lease / time.Second),
	}}})
	if err != nil {
		return // nothing to watch: the next call that is refused logs in
	}
	a.running.Go(watcher.Start)
	defer watcher.Stop()
	select {
	case <-watcher.DoneCh(): //nolint:errcheck // an error or not, renewal is over
	case <-s.stop:
	}
}

// close ends the session, and the one that a login may still bring. No call is under way
// any more.
func (a *authenticator) close() {
	a.mu.Lock()
	s, f := a.current, a.flight
	a.current, a.closed = nil, true
	a.mu.Unlock()
	if s != nil {
		a.end(s)
	}
	if f != nil { // or its token would be forgotten and live on
		timer := time.NewTimer(revokeTimeout)
		defer timer.Stop()
		select {
		case <-f.done:
		case <-timer.C:
		}
	}
}

// end stops renewal, and revokes the token if it is ours.
func (a *authenticator) end(s *session) {
	close(s.stop)
	if s.given {
		return
	}
	ctx, cancel := context.WithTimeout(a.life, revokeTimeout)
	defer cancel()
	_, _ = send(ctx, s.client, a.settings, put("auth/token/revoke-self", nil))
}

// tokenState is what a refusal says of the token.
type tokenState int

const (
	tokenAlive tokenState = iota
	tokenDead
	// tokenUnknown: it may not look itself up, and Vault does not say that it is invalid.
	tokenUnknown
)

// invalidToken is what Vault adds to "permission denied" if the token is what is wrong.
const invalidToken = "invalid token"

// judge finds out whether a refusal is about the token or about what it may do: Vault
// answers 403 to both.
func (a *authenticator) judge(ctx context.Context, s *session, refusal answer) (tokenState, error) {
	if refusal.says(invalidToken) {
		return tokenDead, nil
	}
	r := get("auth/token/lookup-self")
	look, err := send(ctx, s.client, a.settings, r)
	switch {
	case err != nil:
		return tokenUnknown, err
	case look.ok():
		return tokenAlive, nil
	case look.status != http.StatusForbidden:
		return tokenUnknown, a.settings.failure(r, look)
	case look.says(invalidToken):
		return tokenDead, nil
	default:
		return tokenUnknown, nil
	}
}

// identity is what lookup-self tells of a token.
type identity struct {
	DisplayName string      `json:"display_name"`
	EntityID    string      `json:"entity_id"`
	TTL         json.Number `json:"ttl"`
	Renewable   bool        `json:"renewable"`
}

// ttl is zero for a token that does not expire.
func (i identity) ttl() time.Duration {
	seconds, _ := i.TTL.Int64()
	return time.Duration(max(0, seconds)) * time.Second
}

// String never holds the accessor, which is as good as the token to revoke it.
func (i identity) String() string {
	name := i.DisplayName
	if i.EntityID != "" {
		name += " (entity " + i.EntityID + ")"
	}
	printable := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	return printable[:min(len(printable), provider.MaxText)]
}
