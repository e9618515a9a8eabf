package outage_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
)

func ExampleBudget_Check() {
	fmt.Println(outage.DefaultBudget().Check())
	fmt.Println(outage.Budget{TTL: time.Millisecond}.Check())
	// Output:
	// <nil>
	// outage: a ttl of 1ms; it is from 1s to 168h0m0s
}

func ExampleRevokes() {
	fmt.Println(outage.Revokes(provider.Errorf(provider.InvalidState, "the key is disabled")))
	fmt.Println(outage.Revokes(provider.Errorf(provider.Unavailable, "no route to host")))
	fmt.Println(outage.Revokes(provider.Errorf(provider.Unauthenticated, "the token has expired")))
	// Output:
	// true
	// false
	// false
}

// A key manager is away from the first question on.
func ExampleKEK() {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	budget := outage.Budget{TTL: time.Hour, Grace: 30 * time.Minute}
	kek := outage.New(outage.ID{Provider: "prod", KEK: "payments-kek"}, now)
	kek.Rely("payments", budget, "3")
	kek.Opened(now, now, "3")

	for now.Before(kek.Next()) && kek.Barred(now, "payments", budget, "3") == nil {
		now = kek.Next() // a monitor waits until then
		for _, version := range kek.Due(now) {
			kek.Asked(now, version)
			kek.Answered(now, version, provider.Errorf(provider.Unavailable, "no route to host"))
		}
		for _, c := range kek.Advance(now) {
			fmt.Println(now.Format(time.TimeOnly), c.Kind, c.Code, c.Keys)
		}
	}
	err := kek.Barred(now, "payments", budget, "3")
	fmt.Println(errors.Is(err, outage.ErrBudget), errors.Is(err, provider.Unavailable))
	fmt.Println(kek.Status().State)
	// Output:
	// 09:00:00 entered UNAVAILABLE [payments]
	// 09:30:00 spent UNAVAILABLE [payments]
	// true true
	// exhausted
}
