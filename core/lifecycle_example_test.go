package core_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// A key that was made elsewhere goes on here, as one version of several.
func ExampleKeyrotor_ImportKey() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	material := []byte("0f1e2d3c4b5a69788796a5b4c3d2e1f000112233445566778899aabbccddeeff\n") // e.g. from a file
	defer clear(material)
	root, err := keyring.ParseRoot(keyring.FormAuto, material)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := kr.ImportKey(ctx, "legacy", engine.Imported{Root: root}, core.KeyOptions{Note: "from the old system"}); err != nil {
		log.Fatal(err)
	}
	result, err := kr.Rotate(ctx, "legacy", keyring.ReasonManual, "and away from it")
	fmt.Println(result.Previous, result.Primary, err)
	// Output: 1 2 <nil>
}

// What is suspected is suspended at once; what is known to others is compromised.
func ExampleKeyrotor_SetState() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	if _, err := kr.CreateKey(ctx, "suspect", core.KeyOptions{}); err != nil {
		log.Fatal(err)
	}
	done, err := kr.SetState(ctx, "suspect", 1, keyring.Suspended, "looks odd")
	fmt.Println(done.From, done.To, done.Key.Primary, err)
	_, err = kr.Encrypt(ctx, "suspect", nil, nil)
	fmt.Println(errors.Is(err, keyring.ErrNoPrimary))
	if _, err := kr.Rotate(ctx, "suspect", keyring.ReasonEmergency, ""); err != nil {
		log.Fatal(err)
	}
	if _, err := kr.SetState(ctx, "suspect", 1, keyring.Compromised, "it was on a stolen laptop"); err != nil {
		log.Fatal(err)
	}
	set, err := kr.Configure(ctx, "suspect", engine.Settings{BlockReads: new(true)}, "")
	fmt.Println(set.Changes, err)
	// Output:
	// active suspended 0 <nil>
	// true
	// [{block_reads false true}] <nil>
}

// A version is destroyed only if the registered data proves that nothing needs it.
func ExampleKeyrotor_Destruction() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath) // it registers no data
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	if _, err := kr.CreateKey(ctx, "old", core.KeyOptions{}); err != nil {
		log.Fatal(err)
	}
	if _, err := kr.Rotate(ctx, "old", keyring.ReasonManual, ""); err != nil {
		log.Fatal(err)
	}
	d, err := kr.Destruction(nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = d.Schedule(ctx, "old", 1, destruction.DefaultPeriod, "")
	if refused, ok := errors.AsType[*destruction.RefusedError](err); ok {
		fmt.Println(refused.Reasons[0].Code)
	}
	// Output: no_data
}
