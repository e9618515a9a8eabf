package core_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
)

// One call, and every key rotates by itself as long as this process runs.
func ExampleKeyrotor_ScheduleKeyRotation() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	err = kr.ScheduleKeyRotation(ctx, "", core.Schedule{
		Interval: time.Hour, MaxAge: 90 * 24 * time.Hour, MaxUses: 1_000_000,
	})
	fmt.Println(kr.Scheduler.Status().Running, err)
	for _, p := range kr.Scheduler.Policies("payments") {
		fmt.Println(p.Description())
	}
	// Output:
	// true <nil>
	// at half of the hard limit of uses (built in)
	// every 90 days
	// every 1,000,000 uses
}

// Two master keys from the system before: the old one decrypts, the new one encrypts.
func ExampleKeyrotor_SetupKeyRotation() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	old, err := keyring.ParseRoot(keyring.FormAuto, []byte("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")) // e.g. from a file
	if err != nil {
		log.Fatal(err)
	}
	fresh, err := keyring.ParseRoot(keyring.FormAuto, []byte("202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"))
	if err != nil {
		log.Fatal(err)
	}
	result, err := kr.SetupKeyRotation(ctx, core.KeySetup{
		Key: "invoices", Old: core.MasterKey(old), New: core.MasterKey(fresh),
		OldLabel: "before", NewLabel: "after",
	})
	fmt.Println(result.Key.Primary, result.Made, err)
	for _, v := range result.Key.Versions {
		fmt.Println(v.Number, v.Label, v.State)
	}
	// Output:
	// 2 [1 2] <nil>
	// 1 before deactivated
	// 2 after active
}

// What happened to a key, newest first: the rotations alone.
func ExampleKeyrotor_History() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	if _, err := kr.CreateKey(ctx, "cards", core.KeyOptions{}); err != nil {
		log.Fatal(err)
	}
	if _, err := kr.Rotate(ctx, "cards", keyring.ReasonEmergency, "a laptop was stolen"); err != nil {
		log.Fatal(err)
	}
	page, err := kr.History(ctx, history.Query{Key: "cards", Type: history.Rotation, Limit: 10})
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range page.Events {
		e, err := history.Decode(b)
		fmt.Println(e.PreviousVersion, e.Version, e.Reason, e.Note, err)
	}
	// Output: 1 2 emergency a laptop was stolen <nil>
}

// Policies come and go while the scheduler runs.
func ExampleKeyrotor_Scheduler() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	quarterly, err := policy.NewMaxAge(90 * 24 * time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	if err := kr.Scheduler.Add("payments", quarterly); err != nil {
		log.Fatal(err)
	}
	if err := kr.Scheduler.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(kr.Scheduler.Remove("payments", quarterly.Name()))
	fmt.Println(kr.Scheduler.Stop(ctx))
	// Output:
	// true
	// <nil>
}
