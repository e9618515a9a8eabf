package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// The worker writes one line for each thing that happened, as soon as it has:
//
//	token <token> <plaintext>   an encryption was answered
//	step <name>                 a rotation reached a step
//	rotated <primary>           a rotation was answered
const (
	configVariable = "KEYROTOR_E2E_CONFIG"
	killAtVariable = "KEYROTOR_E2E_KILL_AT"
)

// work encrypts and rotates until it is killed, or kills itself at a step.
func work() error {
	ctx := context.Background()
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	say := func(format string, args ...any) error {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
		return out.Flush()
	}
	killAt := rotation.Step(os.Getenv(killAtVariable))
	kr, err := core.Opener{OnStep: func(_ string, step rotation.Step) {
		if err := say("step %s", step); err != nil || step == killAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}}.Open(ctx, os.Getenv(configVariable))
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	for w := range 2 {
		go func() {
			for i := 0; ; i++ {
				plaintext := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				token, err := kr.Encrypt(ctx, "payments", []byte(plaintext), nil)
				if err == nil {
					err = say("token %s %s", token, plaintext)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	go func() {
		for {
			result, err := kr.Rotate(ctx, "payments", keyring.ReasonManual, "")
			if err == nil {
				err = say("rotated %d", result.Primary)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

// seen is what a worker said before it ended.
type seen struct {
	tokens  map[string]string // token → plaintext
	steps   map[string]int
	rotated int
	last    string
}

// add reads one line; a line that the kill cut off has no newline and never
// gets here.
func (s *seen) add(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return errors.New("the worker says " + line)
	}
	switch fields[0] {
	case "token":
		s.tokens[fields[1]] = fields[2]
	case "step":
		s.steps[fields[1]]++
		s.last = fields[1]
	case "rotated":
		s.rotated++
	default:
		return errors.New("the worker says " + line)
	}
	return nil
}
