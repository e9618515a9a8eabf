package wire_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

func TestAPanicFailsItsCallAlone(t *testing.T) {
	tests := map[string]struct {
		panic any
		log   string
	}{
		"a value": {"hunter2", "a value of type string"},
		"runtime": {nil, "invalid memory address or nil pointer dereference"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			m := &manager{on: func(_ context.Context, call string, _ any) error {
				if call == "Unwrap" {
					explode(test.panic)
				}
				return nil
			}}
			server := wire.NewServer(fullInfo(), provider.Schema{}, always(m), hclog.New(&hclog.LoggerOptions{Output: &log}))
			client := connect(t, server)
			if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
				t.Fatal(err)
			}
			_, err := client.Instance("one").Unwrap(t.Context(), unwrapItems())
			want := "INTERNAL: provider panicked in Unwrap; the plugin's log says where"
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if _, err := client.Instance("one").DescribeKey(t.Context()); err != nil {
				t.Errorf("the next call: %v", err)
			}
			for _, part := range []string{"call=Unwrap", test.log, "wire_test.explode", "server_test.go:"} {
				if !strings.Contains(log.String(), part) {
					t.Errorf("the log lacks %q:\n%s", part, &log)
				}
			}
			if strings.Contains(log.String(), "hunter2") {
				t.Errorf("the log holds the panic's value:\n%s", &log)
			}
		})
	}
}

// explode panics with value, or as the runtime does if there is none.
func explode(value any) {
	if value != nil {
		panic(value)
	}
	var m *manager
	m.on = nil
}

func TestAPanicInTheConstructorOrInCloseIsAnError(t *testing.T) {
	build := func(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
		if cfg.Instance == "bad" {
			panic("constructor")
		}
		return &manager{close: func() error { panic("close") }}, nil
	}
	client := connect(t, wire.NewServer(fullInfo(), provider.Schema{}, build, nil))
	if err := client.Configure(t.Context(), "bad", provider.Body{}); !errors.Is(err, provider.Internal) {
		t.Errorf("constructor: %v", err)
	}
	if err := client.Configure(t.Context(), "good", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseInstance(t.Context(), "good"); !errors.Is(err, provider.Internal) || !strings.Contains(err.Error(), "panicked in Close") {
		t.Errorf("close: %v", err)
	}
}

// optionalCalls are the calls that need a capability.
func optionalCalls(ctx context.Context, i *wire.Instance) map[provider.Capability][]error {
	_, rotate := i.RotateKey(ctx, provider.RotateKeyRequest{})
	_, write := i.WriteMirror(ctx, writeMirrorRequest())
	_, read := i.ReadMirror(ctx, provider.ReadMirrorRequest{})
	_, create := i.CreateKey(ctx, provider.CreateKeyRequest{})
	set := i.SetVersionState(ctx, provider.SetVersionStateRequest{Version: "1", State: provider.KeyDisabled})
	return map[provider.Capability][]error{
		provider.CanRotateKey: {rotate}, provider.CanMirror: {write, read},
		provider.CanCreateKey: {create}, provider.CanSetVersionState: {set},
	}
}

func TestAMissingCapabilityIsRefusedBeforeTheProviderRuns(t *testing.T) {
	m := &manager{on: func(_ context.Context, call string, _ any) error {
		t.Errorf("the provider saw %s", call)
		return nil
	}}
	client := connect(t, wire.NewServer(provider.Info{Name: "bare"}, provider.Schema{}, always(m), nil))
	if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	for capability, errs := range optionalCalls(t.Context(), client.Instance("one")) {
		want := `UNSUPPORTED: the plugin bare lacks the capability "` + string(capability) + `"`
		for _, err := range errs {
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
}

func TestACapabilityWithoutItsInterfaceIsRefused(t *testing.T) {
	instance := start(t, plainManager{&manager{}})
	for capability, errs := range optionalCalls(t.Context(), instance) {
		if capability == provider.CanRotateKey {
			continue // RotateKey is part of the interface that everybody implements.
		}
		want := `UNSUPPORTED: the plugin in-memory-7 lists the capability "` + string(capability) + `", which its key manager does not implement`
		for _, err := range errs {
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
}

func TestAnInstanceMustBeConfigured(t *testing.T) {
	client := connect(t, wire.NewServer(fullInfo(), provider.Schema{}, always(&manager{}), nil))
	if _, err := client.Instance("ghost").DescribeKey(t.Context()); !errors.Is(err, provider.NotFoundInstance) {
		t.Errorf("an unknown instance: %v", err)
	}
	if err := client.Configure(t.Context(), "", provider.Body{}); !errors.Is(err, provider.InvalidArgument) {
		t.Errorf("an empty id: %v", err)
	}
	if err := client.CloseInstance(t.Context(), "ghost"); err != nil {
		t.Errorf("closing an unknown instance: %v", err)
	}
}

// fleet builds managers that know the address they were configured with.
type fleet struct {
	mu     sync.Mutex
	built  []string
	closed []string
	// on runs in every call of an instance, with its address.
	on func(ctx context.Context, address string) error
}

func (f *fleet) build(_ context.Context, cfg provider.Config) (provider.KeyManager, error) {
	address := cfg.Body.String("address")
	if address == "refused" {
		return nil, provider.Errorf(provider.InvalidConfig, "no such host")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.built = append(f.built, address)
	return &manager{
		on: func(ctx context.Context, _ string, _ any) error {
			if f.on == nil {
				return nil
			}
			return f.on(ctx, address)
		},
		answer: func(string) any {
			d := describeResponse()
			d.KEKID = address
			return d
		},
		close: func() error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.closed = append(f.closed, address)
			return nil
		},
	}, nil
}

func (f *fleet) state() (built, closed string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.built, " "), strings.Join(f.closed, " ")
}

func (f *fleet) expect(t *testing.T, built, closed string) {
	t.Helper()
	if b, c := f.state(); b != built || c != closed {
		t.Errorf("built %q and closed %q, want %q and %q", b, c, built, closed)
	}
}

func address(a string) provider.Body {
	return provider.Body{Attributes: map[string]any{"address": a, "token": provider.NewSecret([]byte("t"))}}
}

// describe answers the address of the manager that serves an instance.
func describe(t *testing.T, i *wire.Instance) string {
	t.Helper()
	d, err := i.DescribeKey(t.Context())
	if err != nil {
		t.Error(err)
	}
	return d.KEKID
}

func TestConfigureTwiceIsANoOpAndAFailureChangesNothing(t *testing.T) {
	f := &fleet{}
	server := wire.NewServer(fullInfo(), testSchema(), f.build, nil)
	client := connect(t, server)
	configure := func(a string) error { return client.Configure(t.Context(), "one", address(a)) }
	for range 3 {
		if err := configure("a"); err != nil {
			t.Fatal(err)
		}
	}
	f.expect(t, "a", "")
	if err := configure("refused"); !errors.Is(err, provider.InvalidConfig) {
		t.Errorf("a bad configuration: %v", err)
	}
	f.expect(t, "a", "")
	if got := describe(t, client.Instance("one")); got != "a" {
		t.Errorf("after a failure %q answers", got)
	}
	other := address("a")
	other.Attributes["token"] = provider.NewSecret([]byte("u"))
	if err := client.Configure(t.Context(), "one", other); err != nil {
		t.Fatal(err)
	}
	if built, _ := f.state(); built != "a a" {
		t.Errorf("another secret is the same configuration: built %q", built)
	}
	if err := client.Configure(t.Context(), "two", address("b")); err != nil {
		t.Fatal(err)
	}
	server.Close()
	server.Close()
	if _, closed := f.state(); strings.Count(closed, "a") != 2 || strings.Count(closed, "b") != 1 {
		t.Errorf("closed %q", closed)
	}
	if err := configure("late"); !errors.Is(err, provider.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
	if _, closed := f.state(); !strings.HasSuffix(closed, "late") {
		t.Errorf("the late instance stays open: closed %q", closed)
	}
}

func TestACallInFlightFinishesOnTheInstanceThatItBeganOn(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := &fleet{on: func(_ context.Context, address string) error {
		if address == "old" {
			close(entered)
			<-leave
		}
		return nil
	}}
	client := connect(t, wire.NewServer(fullInfo(), testSchema(), f.build, nil))
	if err := client.Configure(t.Context(), "one", address("old")); err != nil {
		t.Fatal(err)
	}
	var call sync.WaitGroup
	call.Go(func() {
		if got := describe(t, client.Instance("one")); got != "old" {
			t.Errorf("the call in flight was answered by %q", got)
		}
	})
	<-entered
	if err := client.Configure(t.Context(), "one", address("new")); err != nil {
		t.Fatal(err)
	}
	if got := describe(t, client.Instance("one")); got != "new" {
		t.Errorf("a later call was answered by %q", got)
	}
	f.expect(t, "old new", "")
	close(leave)
	call.Wait()
	if err := client.Instance("one").Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Instance("one").DescribeKey(t.Context()); !errors.Is(err, provider.NotFoundInstance) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseWaitsForCallsInFlight(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var left atomic.Bool
	m := &manager{
		on: func(context.Context, string, any) error {
			close(entered)
			<-leave
			left.Store(true)
			return nil
		},
		close: func() error {
			if !left.Load() {
				t.Error("closed under a call")
			}
			return provider.Errorf(provider.Denied, "lease not revoked")
		},
	}
	client := connect(t, wire.NewServer(fullInfo(), provider.Schema{}, always(m), nil))
	if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	var call sync.WaitGroup
	call.Go(func() { describe(t, client.Instance("one")) })
	<-entered
	call.Go(func() {
		if err := client.CloseInstance(t.Context(), "one"); !errors.Is(err, provider.Denied) {
			t.Errorf("Close lost the provider's error: %v", err)
		}
	})
	close(leave)
	call.Wait()
}

func TestTheCallersContextIsHonoured(t *testing.T) {
	entered := make(chan struct{}, 1)
	instance := start(t, &manager{on: func(ctx context.Context, _ string, _ any) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	if _, err := instance.DescribeKey(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, provider.PluginCrashed) {
		t.Errorf("a canceled call: %v", err)
	}
	ctx, cancel = context.WithDeadline(t.Context(), time.Now().Add(20*time.Millisecond))
	defer cancel()
	if _, err := instance.DescribeKey(ctx); !errors.Is(err, context.DeadlineExceeded) || provider.CodeOf(err) != provider.Unavailable {
		t.Errorf("a late call: %v", err)
	}
}
