package faultproxy_test

import (
	"testing"

	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/faultproxy"
)

func ExampleNew() {
	_ = func(t *testing.T) { // func TestLostAnswer(t *testing.T)
		proxy := faultproxy.New(t, "http://127.0.0.1:8200")
		proxy.Next(1, "PUT /v1/transit/keys/*/rotate", faultplan.Lost())

		// Let a provider at proxy.URL rotate its key: it does not hear that it did.

		if n := len(proxy.Calls("PUT /v1/transit/keys/*/rotate")); n != 1 {
			t.Errorf("it rotated %d times", n)
		}
	}
}
