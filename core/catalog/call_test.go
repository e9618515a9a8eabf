package catalog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// scripted answers one error an attempt, then succeeds, and keeps the times.
type scripted struct {
	errs  []error
	times []time.Duration
	begin time.Time
}

func (s *scripted) attempt(context.Context) (string, error) {
	s.times = append(s.times, time.Since(s.begin))
	if len(s.errs) == 0 {
		return "done", nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return "", err
}

func TestRetry(t *testing.T) {
	throttled := func(after time.Duration) error {
		return &provider.Error{Code: provider.Throttled, RetryAfter: after}
	}
	crashed := provider.Errorf(provider.PluginCrashed, "gone")
	down := provider.Errorf(provider.Unavailable, "down")
	for name, c := range map[string]struct {
		errs    []error
		timeout time.Duration
		tries   int
		err     error
		check   func(times []time.Duration) bool
	}{
		"first try":          {nil, time.Hour, 1, nil, nil},
		"permanent":          {[]error{provider.Denied}, time.Hour, 1, provider.Denied, nil},
		"passing":            {[]error{down}, time.Hour, 2, nil, func(ts []time.Duration) bool { return ts[1] >= 25*time.Millisecond && ts[1] <= 75*time.Millisecond }},
		"grows":              {[]error{down, down}, time.Hour, 3, nil, func(ts []time.Duration) bool { return ts[2]-ts[1] >= 100*time.Millisecond }},
		"gives up":           {[]error{down, down, down, down}, time.Hour, maxTries, provider.Unavailable, nil},
		"crash is at once":   {[]error{crashed}, time.Hour, 2, nil, func(ts []time.Duration) bool { return ts[1] == 0 }},
		"honours RetryAfter": {[]error{throttled(7 * time.Second)}, time.Hour, 2, nil, func(ts []time.Duration) bool { return ts[1] == 7*time.Second }},
		"not for so long":    {[]error{throttled(11 * time.Second)}, time.Hour, 1, provider.Throttled, nil},
		"not past the end":   {[]error{throttled(2 * time.Second)}, time.Second, 1, provider.Throttled, func(ts []time.Duration) bool { return ts[0] == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
				defer cancel()
				s := &scripted{errs: c.errs, begin: time.Now()}
				got, err := withRetry(s.attempt)(ctx)
				if len(s.times) != c.tries || !errors.Is(err, c.err) || (err == nil) != (got == "done") {
					t.Errorf("%d tries, %q, %v; want %d tries, %v", len(s.times), got, err, c.tries, c.err)
				}
				if c.check != nil && !c.check(s.times) {
					t.Errorf("tried at %v", s.times)
				}
			})
		})
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		s := &scripted{errs: []error{provider.Errorf(provider.Unavailable, "down")}, begin: time.Now()}
		_, err := withRetry(s.attempt)(ctx)
		if len(s.times) != 1 || !errors.Is(err, provider.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d tries, %v; want the last error and the context's", len(s.times), err)
		}
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := withDeadline(10*time.Second, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})(context.Background())
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, provider.Unavailable) || took != 10*time.Second ||
			err.Error() != "UNAVAILABLE: context deadline exceeded: a call may take 10s" {
			t.Errorf("%v after %s", err, took)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = withDeadline(10*time.Second, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, provider.Unavailable) || err.Error() != "context deadline exceeded" {
			t.Errorf("the caller's own deadline: %v", err)
		}
	})
	in := &Instance{timeout: DefaultTimeout}
	if d := in.deadline(call{slow: true}); d != 30*time.Second {
		t.Errorf("slow calls get %s", d)
	}
}

func TestClassify(t *testing.T) {
	s := newSupervisor("x", defaultRestartPolicy(), nil)
	defer s.close()
	gone := &process{child: newChild("x", "", "", nil)}
	gone.child.state = "signal: killed"
	close(gone.child.exited)
	running := &process{child: newChild("x", "", "", nil)}
	live := context.Background()
	canceled, cancel := context.WithCancel(live)
	cancel()
	for _, c := range []struct {
		over      bool // the caller's own context
		p         *process
		err, want provider.Code
	}{
		{false, gone, provider.Unavailable, provider.PluginCrashed},
		{false, gone, provider.Internal, provider.PluginCrashed},
		{false, gone, provider.PluginCrashed, provider.PluginCrashed},
		{false, gone, provider.Denied, provider.Denied},
		{true, gone, provider.Unavailable, provider.Unavailable},
		{false, running, provider.Unavailable, provider.Unavailable},
		{false, running, provider.Internal, provider.Internal},
		{false, running, provider.PluginCrashed, provider.PluginCrashed},
	} {
		ctx := live
		if c.over {
			ctx = canceled
		}
		err := s.classify(ctx, c.p, provider.Errorf(c.err, "x"))
		wantCode(t, err, c.want)
		if says := strings.Contains(err.Error(), "signal: killed"); says != (c.p == gone && c.want == provider.PluginCrashed) {
			t.Errorf("%v became %v", c.err, err)
		}
	}
	lied := provider.BrokenPromise(provider.Internal, "one result an item", "it answered 3 for 2")
	if err := s.classify(live, gone, lied); err.Error() != lied.Error() || errors.Is(err, provider.PluginCrashed) {
		t.Errorf("a whole answer became %v because the plugin ended after it", err)
	}
	if !running.child.killed {
		t.Error("a plugin without a connection was left running")
	}
}

func TestRestarts(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRestarts(restartPolicy{healthy: 10 * time.Second, first: 500 * time.Millisecond, longest: 30 * time.Second, budget: 3})
	if r.pause(now) != 0 || r.open(now) {
		t.Fatal("the first start has to wait")
	}
	r.ended(now, time.Hour)
	if r.pause(now) != 0 {
		t.Errorf("the first restart waits %s", r.pause(now))
	}
	want := 500 * time.Millisecond
	for n := 2; n <= 12; n++ {
		r.ended(now, 9*time.Second)
		got := r.pause(now)
		if got < want/2 || got > min(want*3/2, 30*time.Second) {
			t.Errorf("pause %d is %s, want about %s", n, got, want)
		}
		if open := r.open(now); open != (n > 3) {
			t.Errorf("after %d ends in a row: open is %v", n, open)
		}
		if r.open(now.Add(got)) {
			t.Errorf("after the pause the circuit lets nothing through")
		}
		want = min(2*want, 30*time.Second)
	}
	r.ended(now, 10*time.Second)
	if r.pause(now) != 0 || r.open(now) {
		t.Error("a healthy run does not clear the count")
	}
	r.ended(now, 0)
	if got := r.pause(now); got > 750*time.Millisecond {
		t.Errorf("after a healthy run the pauses go on at %s", got)
	}
}
