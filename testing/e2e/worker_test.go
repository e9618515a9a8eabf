package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// workerVariable tells this test binary, started again, to be a worker, and holds
// its job.
const workerVariable = "KEYROTOR_E2E_WORKER"

// job is what a worker is to do.
type job struct {
	Config string
	Keys   []string
	// Tokens is the file that each token goes to, with its plaintext, as soon as it
	// was answered. What was written is there whatever happens to the process.
	Tokens string
	Seed   uint64
	// KillAt is the step of a rotation at which the worker kills itself.
	KillAt rotation.Step
}

// A worker encrypts once in a while, and rotates a key each time that it has
// encrypted so often: enough to be at work whenever it is killed, and not so much
// that the test is about the disk.
const (
	encryptEvery = time.Millisecond
	rotateEvery  = 100
	encrypters   = 2
)

// worker is the process under test. It says what happens, a line for each thing:
//
//	owner <owner>            how the worker's claims are signed
//	encrypted                the first encryption was answered
//	failed <error>           an encryption failed
//	step <step> <key>        a rotation reached a step
//	rotated <primary> <key>  a rotation was answered
//	refused <code> <key>     a rotation failed
type worker struct {
	job
	kr     *core.Keyrotor
	tokens *os.File
	turns  chan struct{} // a rotation is due
	stop   chan struct{} // closed when no more is to be done

	mu  sync.Mutex
	out *bufio.Writer
}

// work encrypts and rotates until it is killed, or told to stop.
func work(encoded string) (err error) {
	w := &worker{turns: make(chan struct{}, 1), stop: make(chan struct{}), out: bufio.NewWriter(os.Stdout)}
	if err := json.Unmarshal([]byte(encoded), &w.job); err != nil {
		return err
	}
	w.say("owner %s", rotation.CurrentOwner())
	if w.tokens, err = os.OpenFile(w.Tokens, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	defer w.tokens.Close()
	if w.kr, err = (core.Opener{OnStep: w.reached}).Open(context.Background(), w.Config); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(w.stop)
	}()
	ended := make(chan error, encrypters+1)
	for n := range encrypters {
		go func() { ended <- w.encrypt(n) }()
	}
	go func() { ended <- w.rotate() }()
	for range cap(ended) {
		if err := <-ended; err != nil {
			return err
		}
	}
	return w.kr.Close()
}

// say writes one line at once.
func (w *worker) say(format string, args ...any) {
	w.mu.Lock()
	fmt.Fprintf(w.out, format+"\n", args...)
	err := w.out.Flush()
	w.mu.Unlock()
	if err != nil {
		os.Exit(1) // nobody listens any more
	}
}

func (w *worker) reached(key string, step rotation.Step) {
	w.say("step %s %s", step, key)
	if step == w.KillAt {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

// encrypt goes on after an encryption that failed, having said why.
func (w *worker) encrypt(n int) error {
	random := rand.New(rand.NewPCG(w.Seed, uint64(n)))
	tick := time.NewTicker(encryptEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-w.stop:
			return nil
		case <-tick.C:
		}
		key := w.Keys[random.IntN(len(w.Keys))]
		plaintext := fmt.Sprintf("%d-%d-%d", os.Getpid(), n, i)
		token, err := w.kr.Encrypt(context.Background(), key, []byte(plaintext), nil)
		if err != nil {
			w.say("failed %q", err.Error())
			continue
		}
		if _, err := fmt.Fprintf(w.tokens, "%s %s\n", token, plaintext); err != nil {
			return err
		}
		if n == 0 && i == 0 {
			w.say("encrypted")
		}
		if n == 0 && i%rotateEvery == 0 {
			select {
			case w.turns <- struct{}{}:
			default: // the last one is not over yet
			}
		}
	}
}

// rotate goes on after a rotation that failed, having said why.
func (w *worker) rotate() error {
	random := rand.New(rand.NewPCG(w.Seed, encrypters))
	for {
		select {
		case <-w.stop:
			return nil
		case <-w.turns:
		}
		key := w.Keys[random.IntN(len(w.Keys))]
		result, err := w.kr.Rotate(context.Background(), key, keyring.ReasonManual, "")
		switch code := rotation.ErrorCode(err); {
		case err == nil:
			w.say("rotated %d %s", result.Primary, key)
		case code == "internal": // of no kind that anybody could act upon
			return errors.Join(errors.New("a rotation failed with an error of no class"), err)
		default:
			w.say("refused %s %s", code, key)
		}
	}
}
