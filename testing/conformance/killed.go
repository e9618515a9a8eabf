package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

// killedCases are for a process that is killed. Each has a catalog of its own.
func killedCases() []testCase {
	return []testCase{
		{name: "crash/idle", test: onVictim(testKilledIdle)},
		{name: "crash/reads", test: onVictim(testKilledReads)},
		{name: "crash/at-work", test: onVictim(testKilledAtWork)},
		{name: "crash/rotate-key", needs: []provider.Capability{provider.CanRotateKey}, test: onVictim(testKilledRotate)},
		{name: "crash/set-version-state", needs: []provider.Capability{
			provider.CanSetVersionState, provider.CanRotateKey,
		}, test: onVictim(testKilledSetState)},
		{name: "crash/write-mirror", needs: []provider.Capability{provider.CanMirror}, test: onVictim(testKilledWriteMirror)},
		{name: "crash/create-key", needs: []provider.Capability{provider.CanCreateKey}, test: testKilledCreate},
	}
}

// victim is a process, a key that it serves, and a wrap from before its end.
type victim struct {
	*kek
	process *process
	wrapped provider.Wrapped
	root    []byte
	before  provider.DescribeKeyResponse
}

func onVictim(test func(context.Context, *victim) error) func(context.Context, *subject) error {
	return onKEK(func(ctx context.Context, k *kek) error {
		w, root, err := k.newWrap(ctx, nil)
		if err != nil {
			return err
		}
		before, err := k.describe(ctx)
		if err != nil {
			return err
		}
		return test(ctx, &victim{k, k.s.way.(*process), w, root, before})
	})
}

// pid is the process that serves the case's only instance.
func (p *process) pid() (int, error) {
	pid, ok := p.PID(p.Names()[0])
	if !ok {
		return 0, errors.New("no process runs behind the catalog")
	}
	return pid, nil
}

// killDuring stops the process, makes the calls, and kills the process once all of
// them have been sent: it can have read none of them. It answers their errors.
func (p *process) killDuring(ctx context.Context, calls ...call) ([]error, error) {
	pid, err := p.pid()
	if err != nil {
		return nil, err
	}
	if err := suspend(pid); err != nil {
		return nil, err
	}
	m := newMeter()
	before, err := m.sent(ctx, p.sockets)
	errs := make([]error, len(calls))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		copy(errs, atOnce(len(calls), func(i int) error { return calls[i].do(ctx) }))
	}()
	if err == nil {
		err = eventually(ctx, "the calls are sent", func() (bool, error) {
			select {
			case <-ended:
				return false, errors.New("the calls ended before the process did")
			default:
				now, err := m.sent(ctx, p.sockets)
				return now == before+int64(len(calls)), err
			}
		})
	}
	err = errors.Join(err, kill(pid))
	<-ended
	return errs, err
}

// survived answers what of the time before the kill was lost.
func (v *victim) survived(ctx context.Context) error {
	if err := v.opens(ctx, v.wrapped, nil, v.root); err != nil {
		return fmt.Errorf("after the process was killed: %w", err)
	}
	return nil
}

func testKilledIdle(ctx context.Context, v *victim) error {
	pid, err := v.process.pid()
	if err != nil {
		return err
	}
	if err := kill(pid); err != nil {
		return err
	}
	if err := v.survived(ctx); err != nil {
		return err
	}
	if err := v.unchanged(ctx, v.before); err != nil {
		return fmt.Errorf("after the process was killed: %w", err)
	}
	return v.usable(ctx, v.wrapped, v.root)
}

// testKilledReads: calls that change nothing are answered by the next process.
func testKilledReads(ctx context.Context, v *victim) error {
	var reads []call
	for _, c := range v.calls(v.before.PrimaryVersion, v.wrapped, v.root) {
		if c.reads {
			reads = append(reads, c)
		}
	}
	errs, err := v.process.killDuring(ctx, reads...)
	if err != nil {
		return err
	}
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("%s, under way when its process was killed, fails: %w", reads[i].name, err)
		}
	}
	return v.survived(ctx)
}

// cutOff makes one call that changes something while the process is killed. The
// process had not read it, so what DescribeKey tells is that nothing happened.
func (v *victim) cutOff(ctx context.Context, name string, do func(context.Context) error) error {
	if err := v.process.crashes(ctx, name, do); err != nil {
		return err
	}
	if err := v.unchanged(ctx, v.before); err != nil {
		return fmt.Errorf("%s was cut off before the process read it: %w", name, err)
	}
	return v.survived(ctx)
}

func (p *process) crashes(ctx context.Context, name string, do func(context.Context) error) error {
	errs, err := p.killDuring(ctx, call{name: name, do: do})
	if err != nil {
		return err
	}
	return wantCode(errs[0], provider.PluginCrashed, name+", under way when its process was killed,")
}

func testKilledRotate(ctx context.Context, v *victim) error {
	req := provider.RotateKeyRequest{ExpectedVersion: v.before.PrimaryVersion, RequestID: "request"}
	var res provider.RotateKeyResponse
	rotate := func(ctx context.Context) (err error) {
		res, err = v.RotateKey(ctx, req)
		return err
	}
	if err := v.cutOff(ctx, "RotateKey", rotate); err != nil {
		return err
	}
	if err := rotate(ctx); err != nil {
		return fmt.Errorf("RotateKey, once more: %w", err)
	}
	after, err := v.moved(ctx, v.before, res)
	if err != nil {
		return err
	}
	if err := oneMore(v.before, after); err != nil {
		return err
	}
	return v.survived(ctx)
}

func testKilledSetState(ctx context.Context, v *victim) error {
	r, err := v.retire(ctx)
	if err != nil {
		return err
	}
	if v.before, err = v.describe(ctx); err != nil {
		return err
	}
	disable := func(ctx context.Context) error { return v.setState(ctx, r.version, provider.KeyDisabled) }
	if err := v.cutOff(ctx, "SetVersionState", disable); err != nil {
		return err
	}
	if err := v.set(ctx, r, provider.KeyDisabled); err != nil {
		return fmt.Errorf("once more: %w", err)
	}
	return v.closed(ctx, r, provider.KeyDisabled)
}

func testKilledWriteMirror(ctx context.Context, v *victim) error {
	m := mirror{store: [16]byte{1, 2, 3, 4, 5}}
	var err error
	if m.Mirror, err = optional[provider.Mirror](v.kek); err != nil {
		return err
	}
	first, second := mirrorRecord(m.store, 1, 3), mirrorRecord(m.store, 4, 5)
	if err := m.write(ctx, first); err != nil {
		return err
	}
	write := func(ctx context.Context) error { return m.write(ctx, second) }
	if err := v.cutOff(ctx, "WriteMirror", write); err != nil {
		return err
	}
	if err := m.holds(ctx, first); err != nil {
		return fmt.Errorf("after the process was killed: %w", err)
	}
	if err := write(ctx); err != nil {
		return fmt.Errorf("once more: %w", err)
	}
	return m.holds(ctx, mirrorRecord(m.store, 1, 5))
}

// testKilledCreate: DescribeKey tells that there is no key, and CreateKey makes it.
func testKilledCreate(ctx context.Context, s *subject) error {
	k, err := s.openKEK(ctx, s.KEK(s.t))
	if err != nil {
		return err
	}
	_, err = k.DescribeKey(ctx)
	if err := wantCode(err, provider.NotFoundKey, "DescribeKey on a key that does not exist"); err != nil {
		return err
	}
	create := func(ctx context.Context) error {
		_, err := k.create(ctx, "request")
		return err
	}
	if err := s.way.(*process).crashes(ctx, "CreateKey", create); err != nil {
		return err
	}
	_, err = k.DescribeKey(ctx)
	if err := wantCode(err, provider.NotFoundKey, "DescribeKey, CreateKey having been cut off before the process read it,"); err != nil {
		return err
	}
	if err := create(ctx); err != nil {
		return fmt.Errorf("CreateKey, once more: %w", err)
	}
	w, root, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	return k.opens(ctx, w, nil, root)
}

// testKilledAtWork kills a process that is busy, at whatever it does then: between
// two calls, in one, or in the middle of writing. No wrap that was answered is lost.
func testKilledAtWork(ctx context.Context, v *victim) error {
	pid, err := v.process.pid()
	if err != nil {
		return err
	}
	const rounds = 6
	var kept []sample
	busy, setBusy := context.WithCancel(ctx)
	if err := errors.Join(atOnce(2, func(i int) error {
		if i == 0 {
			<-busy.Done()
			return kill(pid)
		}
		defer setBusy()
		for n := range rounds {
			if n == rounds/2 {
				setBusy()
			}
			more, err := v.work(ctx)
			if err != nil {
				return fmt.Errorf("while the process is killed: %w", err)
			}
			kept = append(kept, more...)
		}
		return nil
	})...); err != nil {
		return err
	}
	if err := v.openEach(ctx, kept); err != nil {
		return fmt.Errorf("after the process was killed at work: %w", err)
	}
	if err := v.survived(ctx); err != nil {
		return err
	}
	return v.usable(ctx, v.wrapped, v.root)
}

// work wraps a root and rotates. Of a rotation that was cut off DescribeKey tells in
// the next round whether it happened.
func (v *victim) work(ctx context.Context) ([]sample, error) {
	samples, err := v.wrappedSamples(ctx, 1)
	if err != nil || !v.can(provider.CanRotateKey) {
		return samples, err
	}
	if _, _, err := v.rotate(ctx); err != nil && !errors.Is(err, provider.PluginCrashed) {
		return nil, err
	}
	return samples, nil
}
