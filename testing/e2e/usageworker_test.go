package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// usageVariable tells this test binary, started again, to be a process that uses a key
// up, and holds its job.
const usageVariable = "KEYROTOR_E2E_USAGE"

// usageJob is what such a process is to do.
type usageJob struct {
	Config string
	Key    string
	// Counts is the file in which it counts what it was answered.
	Counts string
	// Old is a ciphertext of an old version, for re-encryption.
	Old []byte
}

const (
	// usagePace is how many encryptions a process makes in a second, by so many
	// goroutines; every eighth of them is a re-encryption.
	usagePace       = 2000
	usageGoroutines = 2
	// usagePatience is how long an encryption may wait for anything.
	usagePatience = 30 * time.Second
)

// counts has, for each version, how often it was used, by purpose. It lies in a file
// that is mapped, so that it is there whatever happens to the process.
type counts [maxVersions][2]atomic.Uint64

// maxVersions is more than any run makes.
const maxVersions = 1 << 14

// mapCounts maps a file, which is made if it is not there.
func mapCounts(path string) (*counts, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const size = int(unsafe.Sizeof(counts{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	memory, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*counts)(unsafe.Pointer(&memory[0])), nil // it is aligned to a page
}

// useUp encrypts and re-encrypts at a steady pace until its standard input ends, with a
// scheduler that rotates the key. It says what happens, a line for each thing:
//
//	owner <owner>    how its leases are signed
//	encrypted        the first encryption was answered
//	failed <error>   an encryption failed
func useUp(encoded string) (err error) {
	w := &usageWorker{out: bufio.NewWriter(os.Stdout), stop: make(chan struct{})}
	if err := json.Unmarshal([]byte(encoded), &w.usageJob); err != nil {
		return err
	}
	if w.counts, err = mapCounts(w.Counts); err != nil {
		return err
	}
	w.say("owner %s", rotation.CurrentOwner())
	if w.kr, err = core.Open(context.Background(), w.Config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.kr.Close()) }()
	if err := w.kr.Scheduler.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(w.stop)
	}()
	var wg sync.WaitGroup
	for n := range usageGoroutines {
		wg.Go(func() { w.work(n) })
	}
	wg.Wait()
	return nil
}

type usageWorker struct {
	usageJob
	kr     *core.Keyrotor
	counts *counts
	stop   chan struct{}

	mu  sync.Mutex
	out *bufio.Writer
}

// say writes one line at once.
func (w *usageWorker) say(format string, args ...any) {
	w.mu.Lock()
	fmt.Fprintf(w.out, format+"\n", args...)
	err := w.out.Flush()
	w.mu.Unlock()
	if err != nil {
		os.Exit(1) // nobody listens any more
	}
}

// work keeps to the pace: what could not be done in time is done later.
func (w *usageWorker) work(n int) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	var buf []byte
	for done := 0; ; <-tick.C {
		for ; float64(done) < time.Since(began).Seconds()*usagePace/usageGoroutines; done++ {
			select {
			case <-w.stop:
				return
			default:
			}
			var err error
			if buf, err = w.use(buf[:0], done%8 == 7); err != nil {
				w.say("failed %q", err.Error())
			}
			if n == 0 && done == 0 {
				w.say("encrypted")
			}
		}
	}
}

func (w *usageWorker) use(buf []byte, reencrypt bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), usagePatience)
	defer cancel()
	var err error
	purpose := keyring.Encrypting
	if reencrypt {
		purpose = keyring.Reencrypting
		buf, _, err = w.kr.Reencrypt(ctx, buf, w.Old, nil)
	} else {
		buf, err = w.kr.AppendEncryptBinary(ctx, buf, w.Key, []byte("x"), nil)
	}
	if err != nil {
		return buf, err
	}
	parsed, err := keyring.ParseBinary(buf)
	if err == nil {
		w.counts[parsed.Version()][purpose].Add(1)
	}
	return buf, err
}
