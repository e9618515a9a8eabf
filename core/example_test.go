package core_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
)

func ExampleOpen() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath) // e.g. "/etc/keyrotor/keyrotor.hcl"
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	token, err := kr.Encrypt(ctx, "payments", []byte("s3cret"), []byte("customer 42"))
	if err != nil {
		log.Fatal(err)
	}
	plaintext, err := kr.Decrypt(ctx, token, []byte("customer 42"))
	fmt.Printf("%s %v\n", plaintext, err)
	// Output: s3cret <nil>
}

func contextForMain() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func historyOf(key string) history.Query { return history.Query{Key: key} }
