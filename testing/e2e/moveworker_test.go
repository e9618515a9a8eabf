package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// moveVariable tells this test binary, started again, to move wraps: it names the job.
// The others say with which config, at which step to die, and which file must be there
// before it goes on from the intent.
const (
	moveVariable       = "KEYROTOR_E2E_MOVE"
	moveConfigVariable = "KEYROTOR_E2E_MOVE_CONFIG"
	moveKillVariable   = "KEYROTOR_E2E_MOVE_KILL_AT"
	moveGateVariable   = "KEYROTOR_E2E_MOVE_GATE"
)

// The jobs.
const (
	jobRotate  = "rotate"  // the KEK of "local"
	jobMigrate = "migrate" // "payments" from "local" to "second"
	jobReturn  = "return"  // and back
)

// moveWork does one job and says so: "step <name>" at each step, and at the end "done",
// or "overtaken" if another process did it.
func moveWork(job string) error {
	ctx := context.Background()
	killAt, gate := rotation.Step(os.Getenv(moveKillVariable)), os.Getenv(moveGateVariable)
	kr, err := core.Opener{OnStep: func(_ string, step rotation.Step) {
		fmt.Fprintf(os.Stdout, "step %s\n", step)
		if step == killAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
		if step == rewrap.StepIntent && gate != "" {
			awaitFile(gate)
		}
	}}.Open(ctx, os.Getenv(moveConfigVariable))
	if err != nil {
		return err
	}
	switch job {
	case jobRotate:
		_, err = kr.RotateKEK(ctx, rewrap.KEKRequest{Provider: "local"})
	case jobMigrate:
		_, err = kr.Migrate(ctx, rewrap.MigrationRequest{Keys: []string{"payments"}, From: "local", To: "second"})
	case jobReturn:
		_, err = kr.Migrate(ctx, rewrap.MigrationRequest{Keys: []string{"payments"}, From: "second", To: "local"})
	default:
		err = errors.New("there is no such job")
	}
	result := "done"
	if errors.Is(err, rewrap.ErrKEKRotated) || errors.Is(err, rewrap.ErrNotWrapped) {
		result, err = "overtaken", nil
	}
	if err := errors.Join(err, kr.Close()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, result)
	return nil
}

// awaitFile polls until a file is there. The test kills who waits for too long.
func awaitFile(path string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
}
