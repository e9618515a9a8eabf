package core_test

import (
	"context"
	"fmt"
	"log"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

// A key was exposed: it is rotated, and so is what the service holds under it.
func ExampleKeyrotor_RotateSecureValues() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	if _, err := kr.CreateKey(ctx, "sessions", core.KeyOptions{}); err != nil {
		log.Fatal(err)
	}
	v, err := secret.NewValue(ctx, kr, "hunter2", secret.Options{Name: "DB_PASSWORD", Key: "sessions"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := kr.Rotate(ctx, "sessions", keyring.ReasonEmergency, ""); err != nil {
		log.Fatal(err)
	}
	report, err := kr.RotateSecureValues(ctx, []secret.Rotatable{v}, core.SecureValuesOptions{
		Reason: keyring.ReasonEmergency, Note: "laptop lost",
	})
	fmt.Println(report.Changed, "changed,", report.Failed, "failed,", err)
	page, err := kr.History(ctx, history.Query{Key: "sessions", Type: history.Reencrypted})
	if err != nil {
		log.Fatal(err)
	}
	event, err := history.Decode(page.Events[0])
	fmt.Println(event.Count, event.PreviousVersion, event.Version, event.Reason, event.Note, err)
	// Output:
	// 1 changed, 0 failed, <nil>
	// 1 1 2 emergency laptop lost <nil>
}
