package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// replicaVariable tells this test binary, started again, to be a replica, and holds its
// job.
const replicaVariable = "KEYROTOR_E2E_REPLICA"

// replicaJob is what a replica is to do.
type replicaJob struct {
	Config, Key string
	Now         time.Time
}

// pollBound is how long a change may go unnoticed in another process.
const pollBound = 5 * time.Second

// replicate is another process on the store, with a clock that stands still. It answers
// each line with one of its own:
//
//	encrypt            "v<version>", or the error's kind
//	decrypt <token>    "opened", or the error's kind
//	pass               lets the bound go by, and says "passed" when it has looked at the store
func replicate(encoded string) (err error) {
	var j replicaJob
	if err := json.Unmarshal([]byte(encoded), &j); err != nil {
		return err
	}
	clock := clockwork.NewFakeClockAt(j.Now)
	kr, err := core.Opener{Clock: clock}.Open(context.Background(), j.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kr.Close()) }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		command, token, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "encrypt":
			token, err := kr.Encrypt(context.Background(), j.Key, []byte("x"), nil)
			fmt.Println(kind(err, string(token)))
		case "decrypt":
			_, err := kr.Decrypt(context.Background(), []byte(token), nil)
			fmt.Println(kind(err, "opened"))
		case "pass":
			clock.Advance(pollBound)
			fmt.Println("passed")
		}
	}
	return nil
}

func kind(err error, done string) string {
	switch {
	case err == nil:
		return done
	case errors.Is(err, keyring.ErrNoPrimary):
		return "no primary"
	case errors.Is(err, keyring.ErrState):
		return "refused by state"
	}
	return err.Error()
}

// TestReplica: what is done to a key in one process acts in another within the bound,
// by that process's clock, and not only when it next asks the store of itself.
func TestReplica(t *testing.T) {
	s := newScene(t, "payments")
	kr := s.open(t, core.Opener{})
	encoded, err := json.Marshal(replicaJob{Config: s.config, Key: "payments", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t, procs.Start(t, nil, replicaVariable+"="+string(encoded))}
	first := r.ask("encrypt")
	r.want("decrypt "+first, "opened")
	for _, c := range []struct {
		name             string
		act              func() error
		encrypt, decrypt string
	}{
		{"rotated", func() error { return rotate(kr) }, "keyrotor:payments:v2:", "opened"},
		{"old version suspended", func() error { return r.state(kr, 1, keyring.Suspended) }, "keyrotor:payments:v2:", "refused by state"},
		{"old version back", func() error { return r.state(kr, 1, keyring.Deactivated) }, "keyrotor:payments:v2:", "opened"},
		{"primary suspended", func() error { return r.state(kr, 2, keyring.Suspended) }, "no primary", "opened"},
		{"primary back", func() error { return r.state(kr, 2, keyring.Active) }, "keyrotor:payments:v2:", "opened"},
		{"primary compromised", func() error { return r.state(kr, 2, keyring.Compromised) }, "no primary", "opened"},
		{"replaced", func() error { return rotate(kr) }, "keyrotor:payments:v3:", "opened"},
		{"old version compromised", func() error { return r.state(kr, 1, keyring.Compromised) }, "keyrotor:payments:v3:", "opened"},
		{"reads of those blocked", func() error {
			block := true
			_, err := kr.Configure(t.Context(), "payments", engine.Settings{BlockReads: &block}, "")
			return err
		}, "keyrotor:payments:v3:", "refused by state"},
	} {
		if err := c.act(); err != nil {
			t.Fatal(err)
		}
		r.want("pass", "passed")
		r.becomes(c.name, "encrypt", c.encrypt)
		r.becomes(c.name, "decrypt "+first, c.decrypt)
	}
	r.Stop()
	if state, stderr := r.Wait(); state != procs.Succeeded {
		t.Fatalf("the replica: %s\n%s", state, stderr)
	}
}

func rotate(kr *core.Keyrotor) error {
	_, err := kr.Rotate(context.Background(), "payments", keyring.ReasonManual, "")
	if errors.Is(err, rotation.ErrRotated) {
		return nil
	}
	return err
}

// replica is the other process as its boss sees it.
type replica struct {
	*testing.T
	*procs.Child
}

func (*replica) state(kr *core.Keyrotor, version uint32, to keyring.State) error {
	_, err := kr.SetState(context.Background(), "payments", version, to, "")
	return err
}

func (r *replica) ask(command string) string {
	r.Helper()
	r.Say(command)
	answer, ok := r.Next()
	if !ok {
		state, stderr := r.Wait()
		r.Fatalf("the replica ended by itself: %s\n%s", state, stderr)
	}
	return answer
}

func (r *replica) want(command, answer string) {
	r.Helper()
	if got := r.ask(command); got != answer {
		r.Errorf("%s: %q, want %q", command, got, answer)
	}
}

// becomes waits until the replica has read what it was told of by its clock, which stands
// still meanwhile: no more than the bound has passed.
func (r *replica) becomes(when, command, answer string) {
	r.Helper()
	var got string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if got = r.ask(command); strings.HasPrefix(got, answer) {
			return
		}
	}
	r.Errorf("%s: %s answers %q, want %q", when, command, got, answer)
}
