package awskms

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyrotor/keyrotor/core/provider"
)

// identityTimeout is short because who we are is good to know, and no more: AWS STS may
// not be reachable where AWS KMS is.
const identityTimeout = 2 * time.Second

// manager is one instance.
type manager struct {
	settings
	// pinned is the ARN of the key that this instance works on; nil until it is known.
	pinned atomic.Pointer[string]
	// known: AWS has handed out credentials before, so failing to is an outage.
	known atomic.Bool

	mu      sync.Mutex
	clients *clients

	// rotating holds a token while nobody rotates; who has it may look at begun.
	rotating chan struct{}
	begun    begun

	life   context.Context //nolint:containedctx // the instance's own, which no call has
	end    context.CancelFunc
	closed atomic.Bool
	now    func() time.Time
	pause  func(context.Context, time.Duration) error
}

var (
	_ provider.KeyManager = (*manager)(nil)
	_ provider.KeyCreator = (*manager)(nil)
)

func newManager(s settings) *manager {
	m := &manager{settings: s, rotating: make(chan struct{}, 1), now: time.Now, pause: pause}
	m.life, m.end = context.WithCancel(context.Background())
	m.rotating <- struct{}{}
	if s.key.arn {
		m.pinned.Store(&s.key.text)
	}
	return m
}

// alive refuses what nobody waits for. A call that meets a closed instance was overtaken
// by a new configuration: the host replays that and tries again.
func (m *manager) alive(ctx context.Context) error {
	if m.closed.Load() {
		return provider.Errorf(provider.NotFoundInstance, "the instance for %s is closed", m.key.text)
	}
	if err := ctx.Err(); err != nil {
		return provider.Errorf(provider.Unavailable, "%w", err)
	}
	return nil
}

// session answers clients that are others than stale.
func (m *manager) session(ctx context.Context, stale *clients) (*clients, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive(ctx); err != nil { // it closes under this lock
		return nil, err
	}
	if m.clients != nil && m.clients != stale {
		return m.clients, nil
	}
	c, err := m.newClients(ctx)
	if err != nil {
		return nil, err
	}
	if m.clients != nil {
		m.clients.close()
	}
	m.clients = c
	return c, nil
}

// ask makes one request. If AWS refuses the credentials it loads them anew and asks once
// more; a refused request has changed nothing.
func ask[In, Out any](
	ctx context.Context, m *manager, op string, in *In,
	do func(*kms.Client, context.Context, *In, ...func(*kms.Options)) (*Out, error),
) (*Out, error) {
	c, err := m.session(ctx, nil)
	if err != nil {
		return nil, err
	}
	out, err := once(ctx, m, c, op, in, do)
	if !errors.Is(err, provider.Unauthenticated) {
		return out, err
	}
	if c, err = m.session(ctx, c); err != nil {
		return nil, err
	}
	return once(ctx, m, c, op, in, do)
}

func once[In, Out any](
	ctx context.Context, m *manager, c *clients, op string, in *In,
	do func(*kms.Client, context.Context, *In, ...func(*kms.Options)) (*Out, error),
) (*Out, error) {
	ctx, cancel := m.request(ctx, m.timeout)
	defer cancel()
	// Asked for first, so that what is wrong with them is not taken for the request's fault.
	if _, err := c.credentials.Retrieve(ctx); err != nil {
		return nil, m.credentialError(ctx, err)
	}
	m.known.Store(true)
	out, err := do(c.kms, ctx, in)
	if err != nil {
		return nil, m.failure(ctx, c, op, err)
	}
	return out, nil
}

// request answers a context that ends in time, and with the instance.
func (m *manager) request(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, d, errSlow)
	stop := context.AfterFunc(m.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

var errSlow = errors.New("the time that " + attrTimeout + " allows is over")

// Check describes the key, which tells whether AWS KMS is there and lets us in, and asks
// AWS STS who we are. A deep one wraps and unwraps a root.
func (m *manager) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	if err := m.alive(ctx); err != nil {
		return provider.CheckResponse{}, err
	}
	var res provider.CheckResponse
	start := m.now()
	k, err := m.read(ctx)
	res.Latency = m.now().Sub(start)
	if err != nil {
		return provider.CheckResponse{}, err
	}
	res.Account = k.account
	m.identify(ctx, &res)
	if !req.Deep {
		return res, nil
	}
	start = m.now()
	err = m.checkWrap(ctx)
	res.Latency = m.now().Sub(start)
	return res, err
}

// identify fills in what AWS STS says; it may be silent.
func (m *manager) identify(ctx context.Context, res *provider.CheckResponse) {
	c, err := m.session(ctx, nil)
	if err != nil {
		return
	}
	ctx, cancel := m.request(ctx, min(m.timeout, identityTimeout))
	defer cancel()
	who, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || who.Arn == nil || who.Account == nil {
		return
	}
	res.Identity, res.Account = tidy(*who.Arn), tidy(*who.Account)
}

// Close ends what is under way.
func (m *manager) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Swap(true) {
		return nil
	}
	m.end()
	if m.clients != nil {
		m.clients.close()
	}
	m.wipe()
	return nil
}
