package vaulttransit

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// manager is one instance.
type manager struct {
	settings
	transport *transport // nil in a test that brings another
	auth      *authenticator
	// rotating holds a token while nobody rotates.
	rotating chan struct{}
	info     atomic.Pointer[keyInfo]
	closed   atomic.Bool
	end      context.CancelFunc
	now      func() time.Time
}

var (
	_ provider.KeyManager = (*manager)(nil)
	_ provider.KeyCreator = (*manager)(nil)
)

// newManager takes another transport than HTTP's for a test.
func newManager(s settings, other http.RoundTripper) (*manager, error) {
	life, end := context.WithCancel(context.Background())
	m := &manager{settings: s, rotating: make(chan struct{}, 1), end: end, now: time.Now}
	m.rotating <- struct{}{}
	if other == nil {
		m.transport = &transport{files: s.tls, life: life}
		other = m.transport
	}
	m.auth = &authenticator{settings: &m.settings, transport: other, life: life}
	if _, err := newClient(&m.settings, other, ""); err != nil { // the address, and the environment
		end()
		return nil, err
	}
	return m, nil
}

// alive refuses what nobody waits for. A call that meets a closed instance was overtaken
// by a new configuration: the host replays that and tries again.
func (m *manager) alive(ctx context.Context) error {
	if m.closed.Load() {
		return provider.Errorf(provider.NotFoundInstance, "the instance for %s is closed", m.kekID())
	}
	if err := ctx.Err(); err != nil {
		return provider.Errorf(provider.Unavailable, "%w", err)
	}
	return nil
}

// ask makes one request as the identity of the block. If the token has died it logs in
// and asks once more; a refused request has changed nothing. The answer is there with the
// error if there was one.
func (m *manager) ask(ctx context.Context, r request) (answer, error) {
	again := append([]byte(nil), r.body...) // send wipes what it sends
	defer clear(again)
	s, err := m.auth.session(ctx, nil)
	if err != nil {
		return answer{}, err
	}
	a, err := send(ctx, s.client, &m.settings, r)
	if err != nil || a.status != http.StatusForbidden {
		return m.outcome(r, a, err)
	}
	state, err := m.auth.judge(ctx, s, a)
	switch {
	case err != nil:
		return answer{}, err
	case state == tokenAlive, state == tokenUnknown && !m.method.again():
		return m.outcome(r, a, nil)
	case !m.method.again():
		return a, m.deadToken(r, a)
	}
	next, err := m.auth.session(ctx, s)
	if err != nil {
		return answer{}, err
	}
	if r.body != nil {
		r.body = append([]byte(nil), again...)
	}
	if a, err = send(ctx, next.client, &m.settings, r); err != nil || a.status != http.StatusForbidden {
		return m.outcome(r, a, err)
	}
	// A token that was just made is refused for what it may do, unless Vault says otherwise.
	if state, err = m.auth.judge(ctx, next, a); err != nil {
		return answer{}, err
	}
	if state == tokenDead {
		return a, m.deadToken(r, a)
	}
	return m.outcome(r, a, nil)
}

func (m *manager) outcome(r request, a answer, err error) (answer, error) {
	if err != nil || a.ok() {
		return a, err
	}
	return a, m.failure(r, a)
}

func (m *manager) deadToken(r request, a answer) error {
	return m.codedError(provider.Unauthenticated, r, a, "the token is expired, revoked or another Vault's",
		"correct the credential in the auth block, or what it names")
}

// Check looks the token up, which tells whether Vault is there and for whom it takes us.
// A deep one wraps and unwraps a root.
func (m *manager) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	if err := m.alive(ctx); err != nil {
		return provider.CheckResponse{}, err
	}
	if _, err := m.auth.session(ctx, nil); err != nil { // its time is not that of a request
		return provider.CheckResponse{}, err
	}
	res := provider.CheckResponse{Account: m.namespace}
	start := m.now()
	r := get("auth/token/lookup-self")
	a, err := m.ask(ctx, r)
	res.Latency = m.now().Sub(start)
	switch {
	case err == nil:
		id, err := decode[identity](&m.settings, r, a)
		if err != nil {
			return provider.CheckResponse{}, err
		}
		res.Identity = id.String()
	case provider.CodeOf(err) == provider.Denied: // it is there, and does not say who we are
	default:
		return provider.CheckResponse{}, err
	}
	if !req.Deep {
		return res, nil
	}
	start = m.now()
	err = m.checkWrap(ctx)
	res.Latency = m.now().Sub(start)
	return res, err
}

// Close ends renewal and revokes the token that was logged in for. A token that the user
// gave stays.
func (m *manager) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	m.auth.close()
	m.end()
	m.auth.running.Wait()
	m.method.wipe()
	if m.transport != nil {
		m.transport.close()
	}
	return nil
}
