package core_test

import (
	"context"
	"fmt"
	"log"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rewrap"
)

func ExampleKeyrotor_RotateKEK() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath) // e.g. "/etc/keyrotor/keyrotor.hcl"
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	r, err := kr.RotateKEK(ctx, rewrap.KEKRequest{Provider: "local", Note: "yearly"})
	fmt.Println(r.Provider, len(r.Failed), err)
	// Output: local 0 <nil>
}

func ExampleKeyrotor_RewrapKEK() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	r, err := kr.RewrapKEK(ctx, rewrap.KEKRequest{Provider: "local"})
	fmt.Println(r.RotatedExternally, len(r.Failed), err)
	// Output: false 0 <nil>
}

func ExampleKeyrotor_DescribeKEK() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	kek, err := kr.DescribeKEK(ctx, "local")
	fmt.Println(kek.State, kek.Algorithm, err)
	// Output: enabled AES-256-GCM <nil>
}

func ExampleKeyrotor_Migrate() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	keys, err := kr.WrappedBy(ctx, "local")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(keys)
	_, err = kr.Migrate(ctx, rewrap.MigrationRequest{Keys: keys, From: "local", To: "local"})
	fmt.Println(err)
	// Output:
	// [payments]
	// migrate from provider "local" to itself: name two providers
}
