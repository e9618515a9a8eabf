package scheduler_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// inProcess is a provider without a plugin process.
type inProcess struct{ provider.KeyManager }

func (inProcess) Info() provider.Info { return local.Info("in-process") }

// A service gets a scheduler from its config file, wired by package core. This is what
// it is wired to.
func ExampleScheduler() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	st, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	km, err := local.New(ctx, provider.Config{Body: provider.Body{
		Attributes: map[string]any{"path": filepath.Join(dir, "keyrotor.kek")},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer km.Close()
	if _, err := km.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{}); err != nil {
		log.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Store: st, Actor: "example@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return inProcess{km}, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(ctx)
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"local"}}, ""); err != nil {
		log.Fatal(err)
	}

	outcomes := make(chan scheduler.Outcome, 1)
	s, err := scheduler.New(scheduler.Config{
		Store: st, Owner: "example", Interval: time.Minute,
		Rotate: func(ctx context.Context, r scheduler.Rotation) (uint32, error) {
			result, err := e.RotateDue(ctx, r.Key, r.Version, r.Reason, r.Due)
			return result.Primary, err
		},
		OnOutcome: func(o scheduler.Outcome) { outcomes <- o },
	})
	if err != nil {
		log.Fatal(err)
	}
	audit, err := policy.NewCustom("before_audit", "once before the audit", func(k policy.Key, _ time.Time) policy.Decision {
		return policy.Decision{Due: k.Version == 1, Reason: keyring.ReasonScheduled, Slot: "audit-2026", Why: "the audit is near"}
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Add("payments", audit); err != nil {
		log.Fatal(err)
	}
	if err := s.Start(); err != nil {
		log.Fatal(err)
	}
	o := <-outcomes
	fmt.Println(o.Key, "version", o.New, "by", o.Due.Policy, "for", o.Due.Slot)
	fmt.Println(s.Close(ctx))
	// Output:
	// payments version 2 by before_audit for audit-2026
	// <nil>
}
